"""The lexical floor of risk: scores from phrases alone, committed before any model runs and never undercut by one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from worker.events.variables import FLAGS
from worker.features.lexicon import rows
from worker.features.text import Text

NEGATED = 0.25
"""Factor on a phrase its own clause denies: "I would never hurt myself"; it stays visible, far below any threshold."""
REPORTED = 0.5
"""Factor on a phrase about nobody near, in a text that speaks of films, books or news."""
_MORE = 0.1
"""Added to the strongest phrase of a flag for each further one."""
_CERTAIN = 0.99
_EYE_ROLL = frozenset("🙄🙃")

_KIN = (
    "husband|hubby|wife|ex|boyfriend|bf|girlfriend|gf|fianc[eé]e?|partner|dad|daddy|father|mom|mum|mother|mama|parents|stepdad|stepfather|"
    "stepmom|stepmother|brother|sister|uncle|aunt|cousin|grandfather|grandpa|boss|coach|teacher|roommate|in laws|mother in law|"
    "father in law|family|son|daughter|spouse|abuser|man|guy"
)  # fmt: skip
_KIN_HI = (
    "pati|patni|husband|wife|papa|baap|pitaji|abbu|dad|father|maa|mummy|ammi|mom|bhai|bhaiya|behen|didi|chacha|mama|mausa|tau|fufa|sasur|saas|"
    "sasural wale|sasural walo|sasuralwale|devar|jeth|jija|boyfriend|bf|girlfriend|gf|ex|boss|teacher|sir|gharwale|ghar wale|ghar walo|"
    "gharwalo|mere wale|premi|uncle|bete|beta"
)  # fmt: skip
_MACROS = {
    "{gap}": r"(?:[\w']+ ){0,3}",
    "{near}": r"(?:[\w']+ )?",
    "{self}": "(?:myself|my self|meself)",
    "{want}": (
        "(?:want|wants|wanted|wanting|wanna|wish|wishing|ready|going to|gonna|gunna|plan|planning|planned|thinking (?:of|about)|think (?:of|about)|"
        "thought (?:of|about)|thoughts (?:of|about)|need to|about to|try to|trying to|tried to|urge|urges|decided|decide|considering|consider|"
        "considered|fantasi[sz]e|fantasi[sz]ing|feel like|i might|i will|i'll|i should|i could|i'd|rather|hope to|prefer to|ought to|tempted)"
    ),
    "{them}": (
        "(?:him|her|them|someone|somebody|people|everyone|everybody|others|this (?:man|guy|woman|bitch|bastard|person)|that (?:man|guy|woman|bitch|"
        "bastard|person|asshole|idiot)|those (?:people|bastards|idiots)|these people|my (?:own )?(?:" + _KIN + "|kids|kid|child|children|neighbor|"
        "neighbour|neighbors|coworker|coworkers|classmates|baby))"
    ),
    "{he}": "(?:he|she|he's|she's|they|" + _KIN + ")",
    "{kin}": "(?:my |the |her |his )?(?:" + _KIN + ")",
    "{me}": "(?:main|mai|mein|me|mujhe|mujhko|mereko|hum|humein|mera|meri|ab|bas|sach mein)",
    "{chah}": (
        "(?:chahta|chahti|chahata|chahte|chahu|chahun|chah raha|chah rahi|chahiye|hai|hoon|hun|hu|h|karta|karti|kar raha|kar rahi|krta|ho raha|ho rahi|"
        "hota|aata|aa raha|aa rahe|aate|sochta|sochti|soch raha|soch rahi|lagta|behtar|mann|man|dil|padega|dena|lena)"
    ),
    "{hobj}": "(?:usko|use|uss|unko|unhe|unhein|tujhe|tujhko|tumhe|tumko|isko|ise|inko|sabko|" + _KIN_HI + "|kisi ko|logon ko|ko|main|mai)",
    "{him}": "(?:wo|woh|vo|voh|usne|unhone|isne|inhone|ye|yeh|" + _KIN_HI + ")",
    "{him2}": "(?:us|un|uss|unn|is)",
    "{kinhi}": "(?:" + _KIN_HI + ")",
}  # fmt: skip

_NEGATOR = re.compile(
    r"(?<![\w'])(?:not|never|no|don't|dont|didn't|didnt|doesn't|doesnt|wouldn't|wouldnt|won't|wont|isn't|isnt|wasn't|wasnt|cannot|can't|cant|couldn't|"
    r"haven't|hasn't|aren't|without|nobody|nor|nahi|nahin|nhi|kabhi nahi)(?![\w'])(?P<rest>[\w' ]*)$"
)
_NO_DENIAL = re.compile(
    r"\b(?:stop|help|sure|know|care|only|just|been|see why|why|longer|i|im|i'm|wait|choice|reason|shake|until|if|but|because|and|so|lekin)(?![\w'])"
)
"""After a negator these take the denial away: "can't stop thinking of ...", "not gonna lie I want to ..."."""
_DENIED_AFTER = re.compile(r" (?!koi )(?:[\w']+ )?(?:nahi|nahin|nhi|mat)(?![\w'])")
_DENIAL_WITHIN = re.compile(r" (?:nahi|nahin|nhi) ")
_CLAUSE = re.compile(r"[^\w' ]")
_FIRST_PERSON = re.compile(r"(?<![\w'])(?:i|i'm|i've|i'll|i'd|im|ive|my|me|myself|main|mai|mujhe|mere|mera|meri|khud|apni|apna|we|us|our)(?![\w'])")
_MEDIA = frozenset(
    "movie movies film films episode episodes novel character characters news article articles documentary series netflix book books lyrics song songs "
    "game games podcast actor actress plot scene trailer headline headlines journalist kahani filmein picture serial webseries".split()
)
_CONTEXT = 48
"""Characters before a phrase in which a negator or first person is looked for; about eight words."""


@dataclass(frozen=True, kw_only=True)
class _Rule:
    says: str
    weight: float
    anchors: frozenset[str]
    source: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Compiled when first tried: most texts hold no anchor, and compiling all at once would cost every start."""
        source = self.source
        for macro, meaning in _MACROS.items():
            source = source.replace(macro, meaning)
        return re.compile(rf"(?<![\w'])(?:{source})(?![\w'])")

    @cached_property
    def denies(self) -> bool:
        """Whether the pattern itself holds a Hindi negation, so that one found near it denies nothing."""
        return "nahi" in self.source


@dataclass(frozen=True, kw_only=True)
class _Rules:
    anchors: frozenset[str]
    by_anchor: Mapping[str, tuple[_Rule, ...]]
    profane: Mapping[str, tuple[tuple[str, float], ...]]


@cache
def _rules() -> _Rules:
    by_anchor: dict[str, list[_Rule]] = {}
    text = files("worker.risk").joinpath("patterns.tsv").read_text(encoding="utf-8")
    for line in text.split("\n"):
        if line and not line.startswith("# "):
            says, weight, anchors, source = line.split("\t")
            rule = _Rule(says=says, weight=float(weight), anchors=frozenset(anchors.split()), source=source)
            for anchor in rule.anchors:
                by_anchor.setdefault(anchor, []).append(rule)
    profane: dict[str, list[tuple[str, float]]] = {}
    for _, severity, words in rows("profanity.tsv"):
        for word in words.split():
            profane.setdefault(word.split("_")[0], []).append((word.replace("_", " "), float(severity) / 4))
    return _Rules(
        anchors=frozenset(by_anchor) | frozenset(profane),
        by_anchor={anchor: tuple(rules) for anchor, rules in by_anchor.items()},
        profane={word: tuple(phrases) for word, phrases in profane.items()},
    )


def screen(text: Text) -> NDArray[np.float64]:
    """Scores 0-1 in the order of FLAGS, float64 [len(FLAGS)], from phrases alone; 0 where nothing was found.

    Time is linear in the text: only patterns whose anchor words occur are tried, and every gap in them is bounded.
    """
    scores = np.zeros(len(FLAGS), dtype=np.float64)
    if not _EYE_ROLL.isdisjoint(text.emoji):
        scores[FLAGS.index("sarcasm")] = 0.4
    rules = _rules()
    anchors = rules.anchors.intersection(text.words)
    if not anchors:
        return scores
    line = " ".join(text.tokens)
    tried = {id(rule): rule for anchor in anchors for rule in rules.by_anchor.get(anchor, ())}.values()
    idioms = [(*match.span(), rule.weight) for rule in tried if rule.says == "idiom" for match in rule.pattern.finditer(line)]
    elsewhere = not _MEDIA.isdisjoint(text.words)
    weights: dict[str, list[float]] = {}
    for rule in tried:
        if rule.says != "idiom":
            matches = (rule.weight * _factor(rule, match, idioms, elsewhere) for match in rule.pattern.finditer(line))
            weights.setdefault(rule.says, []).append(max(matches, default=0.0))
    spoken = f" {line} "
    weights["profanity"] = [
        weight for anchor in anchors for phrase, weight in rules.profane.get(anchor, ()) if f" {phrase} " in spoken
    ]
    for flag, found in weights.items():
        best, *more = sorted(found, reverse=True) or [0.0]
        score = best if flag == "profanity" else best + _MORE * sum(weight >= 0.5 for weight in more)
        i = FLAGS.index(flag)
        scores[i] = max(scores[i], min(_CERTAIN, score))
    return scores


def _factor(rule: _Rule, match: re.Match[str], idioms: list[tuple[int, int, float]], elsewhere: bool) -> float:
    """What remains of a phrase in its context, 0-1: idioms it overlaps, its clause's denial, films and news."""
    start, end = match.span()
    factor = min((weight for begin, finish, weight in idioms if begin < end and start < finish), default=1.0)
    before = _CLAUSE.split(match.string[max(0, start - _CONTEXT) : start])[-1]
    negator = _NEGATOR.search(before)
    denied = negator is not None and not _NO_DENIAL.search(negator["rest"])
    if not denied and not rule.denies:
        denied = bool(_DENIAL_WITHIN.search(match.group()) or _DENIED_AFTER.match(match.string, end))
    if denied:
        factor *= NEGATED
    if elsewhere and not _FIRST_PERSON.search(before + match.group()):
        factor *= REPORTED
    return factor
