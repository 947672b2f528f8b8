"""What a feeling becomes on the page: the habit of expression chooses the words and thereby causes what
can be read from them.

Masking shows a pleasant face over an unpleasant feeling, hedging blurs it, venting pours it out. The
labels `expressed`, `willingness` and `congruence` follow from that choice, not the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.synthetic.grammar import Grammar, Line, pick
from worker.events.taxonomy import taxonomy
from worker.events.variables import CORES

LONG_WORDS = (122, 170)
"""A long entry goes on until it has more words than a limit drawn from this range; the product's LONG
begins above 120.
"""
NAMING = {"short": 0.55, "medium": 0.75, "long": 0.9}
"""Share of the entries open about their feeling that also call it by its name."""
AGAIN = {"short": 0.0, "medium": 0.75, "long": 1.0}
"""Share that say the same feeling in a second way."""
TOLD = {"short": 0.05, "medium": 0.85, "long": 1.0}
"""Share that tell what happened."""
ADMITTED = {"short": 0.35, "medium": 0.85, "long": 0.95}
"""Share of the edge cases that say what the writer feels beside the case itself."""
VAGUE = 0.25
"""Share of the hedged entries that keep to themselves what it is all about."""
WILLINGNESS = {"plain": 0.68, "masking": 0.14, "venting": 0.9, "hedging": 0.36, "vague": 0.2}
FRANKNESS = {
    "sarcasm": 0.42, "suicidal_ideation": 0.64, "self_harm": 0.56, "abuse": 0.62, "profanity": 0.72,
    "sociopathic_cues": 0.46, "financial_coercion": 0.6, "harm_to_others": 0.66, "negation": 0.5,
    "counter": 0.62,
}  # fmt: skip
"""Willingness an edge case comes with, before the person's habit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Sentences in order, and what they make of the feeling; `expressed` is empty when nothing can be
    read.
    """

    sentences: tuple[str, ...]
    invoked: tuple[str, ...]
    expressed: tuple[str, ...]
    willingness: float
    congruence: float
    cluster: str


def distribution(path: tuple[str, ...]) -> NDArray[np.float64]:
    """Core distribution a person or reader would give for `path`: .8 on its core, the rest by
    similarity. float64 [6].
    """
    row = taxonomy().similarity[CORES.index(path[0])].copy()
    row[CORES.index(path[0])] = 0.0
    spread = 0.2 * row / row.sum()
    spread[CORES.index(path[0])] = 0.8
    return np.asarray(spread)


def agreement(invoked: tuple[str, ...], expressed: tuple[str, ...]) -> float:
    """Congruence 0-1 of two paths: the overlap of their distributions, less when the nuance differs;
    .55 when unreadable.
    """
    if not expressed:
        return 0.55
    overlap = float(taxonomy().overlap(distribution(invoked), distribution(expressed)))
    return overlap * (1.0 if invoked[:2] == expressed[:2] else 0.8 if invoked[0] == expressed[0] else 0.9)


class Writer:
    """Writes one entry in one language from one pool, avoiding to say a thing twice; `length` is short,
    medium or long.
    """

    def __init__(
        self, grammar: Grammar, pool: int | None, rng: np.random.Generator, other: Grammar | None = None
    ) -> None:
        self.grammar = grammar
        self.pool = pool
        self.rng = rng
        self.other = other
        self.used: set[str] = set()

    def one(self, section: str, intensity: str = "mid") -> str:
        """A filled sentence of a section; in a mixed entry neutral sentences may come from the other
        language.
        """
        neutral = section in ("detail", "closer")
        source = self.other if self.other and neutral and self.rng.random() < 0.6 else self.grammar
        lines = source.section(section, self.pool)
        line = pick(self.rng, [line for line in lines if line.cluster not in self.used] or lines)
        self.used.add(line.cluster)
        return source.fill(line.text, self.rng, intensity)

    def named(self, path: tuple[str, ...], intensity: str) -> str:
        """A sentence that calls the feeling by its name."""
        text = pick(self.rng, self.grammar.section("naming", self.pool)).text
        word = pick(self.rng, self.grammar.words[path])
        return self.grammar.fill(text.replace("{word}", word), self.rng, intensity)

    def maybe(self, section: str, chance: float) -> list[str]:
        return [self.one(section)] if self.rng.random() < chance else []

    def told(self, path: tuple[str, ...], chance: float = 1.0) -> list[str]:
        """What happened, of the kind that makes one feel like `path`: all that a mask leaves to be read."""
        return self.maybe(f"situation.{path[0]}", chance)

    def felt(self, path: tuple[str, ...], intensity: str) -> str:
        """A sentence for the nuance of `path` that this entry does not have yet."""
        lines = self.grammar.feeling(path[0], path[1], self.pool)
        line = pick(self.rng, [line for line in lines if line.cluster not in self.used] or lines)
        self.used.add(line.cluster)
        return self.grammar.fill(line.text, self.rng, intensity)

    def stretched(self, sentences: list[str], extra: list[str]) -> list[str]:
        """`sentences` with `extra` and neutral detail in between until the entry is long."""
        sentences = [*sentences, *extra]
        limit = int(self.rng.integers(*LONG_WORDS))
        while sum(len(sentence.split()) for sentence in sentences) <= limit:
            sentences.insert(int(self.rng.integers(1, len(sentences) + 1)), self.one("detail"))
        return sentences

    def everyday(self, line: Line, habit: str, intensity: str, length: str) -> Page:
        """An entry about the feeling of `line`, told by `habit` (masking only hides unpleasant feelings)."""
        if habit == "masking" and taxonomy().circumplex(*line.path)[0] < 0.5:
            return self.masked(line, length)
        if habit == "hedging":
            return self.hedged(line, intensity, length)
        venting = habit == "venting"
        self.used.add(line.cluster)
        body = [
            *self.told(line.path, TOLD[length]),
            self.grammar.fill(line.text, self.rng, intensity),
            *self.spoken(line.path, intensity, length),
        ]
        if venting:
            body = [self.one("vent_head"), *body, *self.maybe("vent_tail", 0.8)]
        else:
            body = [
                *self.maybe("opener", 0.15 if length == "short" else 0.4),
                *body,
                *self.maybe("closer", 0.1 if length == "short" else 0.4),
            ]
        if length == "long":
            body = self.stretched(body, [*self.told(line.path), self.felt(line.path, intensity)])
        openness = WILLINGNESS["venting" if venting else "plain"]
        openness += {"short": -0.06, "medium": 0.0, "long": 0.08}[length]
        return self.page(body, line, line.path, openness, 1.0 if venting else 0.96)

    def spoken(self, path: tuple[str, ...], intensity: str, length: str) -> list[str]:
        """What somebody open about a feeling adds to it: its name, the same in other words."""
        naming = [self.named(path, intensity)] if self.rng.random() < NAMING[length] else []
        return [*naming, *([self.felt(path, intensity)] if self.rng.random() < AGAIN[length] else [])]

    def masked(self, line: Line, length: str) -> Page:
        """What happened, if that, and a face over it: the feeling itself is not on the page."""
        mask = pick(self.rng, self.grammar.section("mask", self.pool))
        self.used.add(mask.cluster)
        body = [*self.maybe("opener", 0.3), *self.told(line.path, 0.6 if length == "short" else 0.95)]
        body += [self.grammar.fill(mask.text, self.rng), *self.maybe("closer", 0.2)]
        section = self.grammar.section("mask", self.pool)
        alike = [other.text for other in section if other.path[0] == mask.path[0] and other is not mask]
        if alike and self.rng.random() < (0.3 if length == "short" else 0.8):
            body += [pick(self.rng, alike)]
        body = self.stretched(body, self.told(line.path)) if length == "long" else body
        return self.page(body, mask, mask.path, WILLINGNESS["masking"], 1.0, invoked=line.path)

    def hedged(self, line: Line, intensity: str, length: str) -> Page:
        if self.rng.random() < VAGUE:
            core = pick(self.rng, self.grammar.section("vague", self.pool))
            body = [*self.maybe("opener", 0.4), self.grammar.fill(core.text, self.rng)]
            body = [
                *([] if length == "short" else [self.one("detail")]),
                *body,
                *self.maybe("hedge_tail", 0.6),
            ]
            body = self.stretched(body, [self.one("hedge_tail")]) if length == "long" else body
            return self.page(body, core, (), WILLINGNESS["vague"], 1.0, invoked=line.path)
        self.used.add(line.cluster)
        body = [
            *self.told(line.path, TOLD[length]),
            f"{self.one('hedge_head')} {self.grammar.fill(line.text, self.rng, intensity)}",
            *self.spoken(line.path, intensity, length),
            *self.maybe("hedge_tail", 0.8),
        ]
        body = self.stretched(body, [self.one("hedge_tail")]) if length == "long" else body
        return self.page(body, line, line.path[:2], WILLINGNESS["hedging"], 0.84, invoked=line.path)

    def edge(self, category: str, habit: str, length: str) -> Page:
        """An entry of an edge category; habits only colour it: a hedge before, an outburst around."""
        line = pick(self.rng, self.grammar.section(category, self.pool))
        own = category not in ("negation", "counter")
        opens = f"{category}.head" if own and category != "profanity" else "opener"
        body = [
            *self.maybe(opens, 0.1 if length == "short" else 0.5),
            self.grammar.fill(line.text, self.rng, "high"),
        ]
        openness, clarity = FRANKNESS[category], 0.97
        if length != "short" or self.rng.random() < 0.15:
            body += [self.one(f"{category}.tail" if own else "closer")]
        if category != "sarcasm" and self.rng.random() < ADMITTED[length]:
            body += [
                self.named(line.path, "high") if self.rng.random() < 0.5 else self.felt(line.path, "high")
            ]
        if habit == "hedging" and category not in ("sarcasm", "negation", "counter"):
            body = [f"{self.one('hedge_head')} {body[0]}", *body[1:], *self.maybe("hedge_tail", 0.6)]
            openness, clarity = openness - 0.22, 0.86
        if habit == "venting":
            body, openness = [*self.maybe("vent_head", 0.5), *body, self.one("vent_tail")], openness + 0.2
        if length != "short":
            body = [*self.told(line.path, 0.7), *body]
        if length == "long":
            body = self.stretched(body, self.told(line.path))
        if category == "sarcasm":
            return self.page(body, line, ("Angry", "Critical", "Sarcastic"), openness, 0.66)
        return self.page(body, line, line.path, openness, clarity)

    def words(self, line: Line) -> Page:
        """A bare list of words, as check-in apps collect them."""
        return self.page([self.grammar.fill(line.text, self.rng)], line, line.path, 0.5, 0.97)

    def page(
        self, body: list[str], line: Line, expressed: tuple[str, ...], openness: float, clarity: float,
        invoked: tuple[str, ...] | None = None,
    ) -> Page:  # fmt: skip
        felt = invoked or line.path
        willingness, congruence = self.rng.normal(
            [openness, agreement(felt, expressed) * clarity], [0.05, 0.035]
        )
        return Page(
            sentences=tuple(body),
            invoked=felt,
            expressed=expressed,
            willingness=float(np.clip(willingness, 0.01, 0.99)),
            congruence=float(np.clip(congruence, 0.0, 1.0)),
            cluster=line.cluster,
        )
