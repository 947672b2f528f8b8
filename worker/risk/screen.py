"""The lexical floor of risk: scores from phrases alone, committed before any model runs and never undercut by
one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from worker.events.variables import FLAGS
from worker.features.lexicon import rows
from worker.features.text import Text

NEGATED = 0.25
"""Factor on a phrase its own clause denies: "I would never hurt myself"; it stays visible, far below any
threshold."""
REPORTED = 0.5
"""Factor on a phrase without first person that is about somebody else, or in a text that speaks of films or
news."""
_ABOUT_ONESELF = frozenset({"suicidal_ideation", "self_harm", "harm_to_others"})
"""Flags that mean the writer; said of others the strongest phrases still end as `medium`."""
_MORE = 0.1
"""Added to the strongest phrase of a flag for each further one."""
_CERTAIN = 0.99
_EYE_ROLL, _ROLLED = frozenset("🙄🙃"), 0.4
_REACH = 16
"""Tokens before and after an anchor that a pattern may span; the longest pattern is shorter."""
_CONTEXT = 48
"""Characters before a phrase in which a negation or a person is looked for; about eight words."""
_CLAUSE = re.compile(r"[^\w' ]")


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """One line of `patterns.tsv` with its macros filled in; `weight` 0-1."""

    says: str
    weight: float
    anchors: frozenset[str]
    source: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Compiled when first tried: most texts hold no anchor, and compiling all at once would cost every
        start."""
        return re.compile(_alone(self.source))

    @cached_property
    def denies(self) -> bool:
        """Whether the phrase itself holds a Hindi negation, so that one found near it denies nothing."""
        return "nahi" in self.source


@dataclass(frozen=True, kw_only=True)
class Rules:
    """All rules by anchor word, swear words by first word with their weight 0-1, and the patterns of
    context."""

    by_anchor: Mapping[str, tuple[Rule, ...]]
    profane: Mapping[str, tuple[tuple[str, float], ...]]
    anchors: frozenset[str]
    first_person: re.Pattern[str]
    others: re.Pattern[str]
    negator: re.Pattern[str]
    undenied: re.Pattern[str]
    denied_after: re.Pattern[str]
    media: re.Pattern[str]


@cache
def rules() -> Rules:
    """The rules shipped with this version; loaded at the first call (about 10 ms), shared and immutable
    after."""
    by_anchor: dict[str, list[Rule]] = {}
    macros: dict[str, str] = {}
    for line in files("worker.risk").joinpath("patterns.tsv").read_text(encoding="utf-8").split("\n"):
        if not line or line.startswith("# "):
            continue
        says, weight, anchors, source = line.split("\t")
        source = re.sub(r"\{[a-z_0-9]*[a-z]\w*\}", lambda match: macros[match.group()], source)
        if says.startswith("{"):
            macros[says] = source
            continue
        rule = Rule(says=says, weight=float(weight), anchors=frozenset(anchors.split()), source=source)
        for anchor in rule.anchors:
            by_anchor.setdefault(anchor, []).append(rule)
    profane: dict[str, list[tuple[str, float]]] = {}
    for _, severity, words in rows("profanity.tsv"):
        for word in words.split():
            profane.setdefault(word.split("_")[0], []).append((word.replace("_", " "), float(severity) / 4))
    near = r"(?: [\w']+){0,3} ?$"
    return Rules(
        by_anchor={anchor: tuple(found) for anchor, found in by_anchor.items()},
        profane={word: tuple(phrases) for word, phrases in profane.items()},
        anchors=frozenset(by_anchor) | frozenset(profane),
        first_person=re.compile(_alone(macros["{i}"])),
        others=re.compile(_alone(macros["{others}"]) + near),
        negator=re.compile(_alone(macros["{not}"]) + r"(?P<rest>(?: [\w']+){0,4}) ?$"),
        undenied=re.compile(_alone(macros["{yet}"])),
        denied_after=re.compile(r" (?!koi )(?:[\w']+ )?" + _alone(macros["{nahi}"])),
        media=re.compile(_alone(macros["{media}"])),
    )


def _alone(source: str) -> str:
    return rf"(?<![\w'])(?:{source})(?![\w'])"


def screen(text: Text) -> NDArray[np.float64]:
    """Scores 0-1 in the order of FLAGS, float64 [len(FLAGS)], from phrases alone; 0 where nothing was found.

    Time is linear in the text: a pattern is tried only near its anchor words, and every gap in it is bounded.
    """
    scores = np.zeros(len(FLAGS), dtype=np.float64)
    if not _EYE_ROLL.isdisjoint(text.emoji):
        scores[FLAGS.index("sarcasm")] = _ROLLED
    known = rules()
    anchors = known.anchors.intersection(text.words)
    if not anchors:
        return scores
    line = " ".join(text.tokens)
    found = [
        (rule, match)
        for rule, spans in _spans(text.tokens, known)
        for begin, end in spans
        for match in rule.pattern.finditer(line, begin, end)
    ]
    idioms = [(*match.span(), rule.weight) for rule, match in found if rule.says == "idiom"]
    reported = bool(found) and known.media.search(line) is not None
    best: dict[Rule, float] = {}
    for rule, match in found:
        if rule.says != "idiom" and best.get(rule, 0.0) < rule.weight:
            weight = rule.weight * _factor(rule, match, idioms, reported, known)
            best[rule] = max(best.get(rule, 0.0), weight)
    for i, flag in enumerate(FLAGS):
        most, *more = sorted(
            (weight for rule, weight in best.items() if rule.says == flag), reverse=True
        ) or [0.0]
        scores[i] = max(scores[i], min(_CERTAIN, most + _MORE * sum(weight >= 0.5 for weight in more)))
    spoken = f" {line} "
    sworn = (
        weight
        for word in anchors
        for phrase, weight in known.profane.get(word, ())
        if f" {phrase} " in spoken
    )
    scores[FLAGS.index("profanity")] = min(_CERTAIN, max(sworn, default=0.0))
    return scores


def _spans(tokens: Sequence[str], known: Rules) -> list[tuple[Rule, list[tuple[int, int]]]]:
    """Where in the joined line each rule can match: characters near its anchors, overlaps merged."""
    starts = [0, *accumulate(len(token) + 1 for token in tokens)]
    spans: dict[Rule, list[tuple[int, int]]] = {}
    for i, token in enumerate(tokens):
        for rule in known.by_anchor.get(token, ()):
            begin, end = starts[max(0, i - _REACH)], starts[min(len(tokens), i + _REACH + 1)] - 1
            seen = spans.setdefault(rule, [])
            if seen and begin <= seen[-1][1]:
                seen[-1] = (seen[-1][0], end)
            else:
                seen.append((begin, end))
    return list(spans.items())


def _factor(
    rule: Rule, match: re.Match[str], idioms: list[tuple[int, int, float]], reported: bool, known: Rules
) -> float:
    """What remains of a phrase in its context, 0-1: idioms it overlaps, its clause's denial, other people,
    films."""
    start, end = match.span()
    factor = min((weight for begin, finish, weight in idioms if begin < end and start < finish), default=1.0)
    before = _CLAUSE.split(match.string[max(0, start - _CONTEXT) : start])[-1]
    negator = known.negator.search(before)
    denied = negator is not None and not known.undenied.search(negator["rest"])
    if not denied and not rule.denies:
        denied = any(f" {no} " in match.group() for no in ("nahi", "nahin", "nhi"))
        denied = denied or known.denied_after.match(match.string, end) is not None
    if denied:
        factor *= NEGATED
    other = known.others.search(before) if rule.says in _ABOUT_ONESELF else None
    around = before[other.start() :] if other is not None else before
    if (other is not None or reported) and not known.first_person.search(around + match.group()):
        factor *= REPORTED
    return factor
