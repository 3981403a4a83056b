"""What the drift check compares: one source's answers at release and today, row beside row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from joshi.errors import JoshiError
from joshi.rubric import RULES

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Integers = np.ndarray[Any, np.dtype[np.int64]]
Booleans = np.ndarray[Any, np.dtype[np.bool_]]

Source = Literal["probes", "production"]
MOST = 2_000  # answers of one source at one time: memory grows with the square, and whatever differs is significant
SOURCES: tuple[Source, ...] = ("probes", "production")


@dataclass(frozen=True, eq=False)
class Answers:
    """n answers of one source.

    Probes may be answered several times over, each time with a new seed: answers that repeat yesterday's seeds repeat
    yesterday's chance, and sums over days would count it again. Of production, one answer a conversation: those of one
    talk are alike, and tests would take them for more than they are.
    """

    units: tuple[str, ...]  # the probe or the conversation that each answers
    scores: Floats  # (n,) empathy score, 0..1
    passed: Booleans  # (n, rules) in the order of RULES
    tokens: Integers  # (n,)
    embeddings: Floats  # (n, any size)

    def __len__(self) -> int:
        return len(self.units)

    def take(self, rows: Sequence[int] | Integers) -> Answers:
        chosen = np.asarray(rows, np.int64)
        return Answers(
            tuple(self.units[row] for row in chosen),
            self.scores[chosen],
            self.passed[chosen],
            self.tokens[chosen],
            self.embeddings[chosen],
        )


@dataclass(frozen=True, eq=False)
class Compared:
    """Answers at release and today in strata: one a probe, or all of production as a single one.

    While nothing has changed, today's answers to a probe are drawn as those at release were, and which of a stratum's
    rows are today's is chance. Every test here rests on this alone.
    """

    source: Source
    before: Answers
    after: Answers
    stratum: Integers  # (n,) of each row, those before first; 0 .. strata - 1, none missing

    @property
    def strata(self) -> int:
        return int(self.stratum.max(initial=-1)) + 1

    @cached_property
    def is_today(self) -> Booleans:
        return np.arange(len(self.stratum)) >= len(self.before)

    @cached_property
    def counts(self) -> tuple[Integers, Integers]:
        """(strata,) rows before, and today."""
        before = np.bincount(self.stratum[~self.is_today], minlength=self.strata)
        return before, np.bincount(self.stratum[self.is_today], minlength=self.strata)

    @cached_property
    def contrast(self) -> Floats:
        """(n,) weights whose product with values is today's mean less that at release, every stratum counting alike."""
        found: Floats = self.contrasts(self.is_today[None])[0]
        return found

    def contrasts(self, today: Booleans) -> Floats:
        """(draws, n) the same for other choices of the rows that are today's."""
        before, after = self.counts
        per_after, per_before = 1 / (after * self.strata), 1 / (before * self.strata)
        found: Floats = np.where(today, per_after[self.stratum], -per_before[self.stratum])
        return found

    def relabelled(self, rng: np.random.Generator, draws: int) -> Booleans:
        """(draws, n) today's labels dealt out anew within each stratum."""
        order = np.argsort(self.stratum + rng.random((draws, len(self.stratum))), axis=1)
        labels = np.empty(order.shape, bool)
        by_stratum = np.argsort(self.stratum, kind="stable")
        np.put_along_axis(labels, order, np.broadcast_to(self.is_today[by_stratum], order.shape), axis=1)
        return labels

    def both(self, name: Literal["scores", "passed", "tokens", "embeddings"]) -> Any:
        """(n, …) the rows before, then today's."""
        return np.concatenate([getattr(self.before, name), getattr(self.after, name)])


def compare(source: Source, before: Answers, after: Answers) -> Compared:
    """Line up one source; of probes, those that were answered both at release and today.

    Raises:
        JoshiError: a figure that cannot be, arrays of unlike lengths, too many answers, or several of one conversation.
    """
    for when, answers in (("at release", before), ("today", after)):
        _require_sound(f"{source} {when}", answers)
    widths = before.embeddings.shape[1], after.embeddings.shape[1]
    if widths[0] != widths[1]:
        raise JoshiError(
            f"{source}: embeddings have {widths[0]} numbers at release and {widths[1]} today; "
            "make those of the release anew with today's embedding model"
        )
    if source == "production":
        for when, answers in (("at release", before), ("today", after)):
            _require_one_each(when, answers)
        return Compared(source, before, after, np.zeros(len(before) + len(after), np.int64))
    known = {name: place for place, name in enumerate(sorted(set(before.units) & set(after.units)))}
    before = before.take([row for row, unit in enumerate(before.units) if unit in known])
    after = after.take([row for row, unit in enumerate(after.units) if unit in known])
    stratum = np.array([known[unit] for unit in (*before.units, *after.units)], np.int64)
    return Compared(source, before, after, stratum)


def _require_sound(what: str, answers: Answers) -> None:
    n = len(answers)
    if n > MOST:
        raise JoshiError(f"{what}: {n:,} answers, at most {MOST:,} are compared; draw as many by chance")
    for name, shape in (
        ("scores", (n,)),
        ("passed", (n, len(RULES))),
        ("tokens", (n,)),
        ("embeddings", (n, answers.embeddings.shape[-1])),
    ):
        if getattr(answers, name).shape != shape:
            raise JoshiError(
                f"{what}: {name} has the shape {getattr(answers, name).shape}, expected {shape}; measure them again"
            )
    for name, sound, expected in (
        ("scores", (answers.scores >= 0) & (answers.scores <= 1), "0 to 1"),
        ("tokens", answers.tokens >= 0, "0 or more"),
        ("embeddings", np.isfinite(answers.embeddings).all(axis=1), "finite numbers"),
    ):
        if not sound.all():
            row = int(np.argmin(sound))
            raise JoshiError(
                f"{what}: {name} of answer {row + 1} ({answers.units[row]}) is not {expected}; measure it again"
            )


def _require_one_each(when: str, answers: Answers) -> None:
    seen: set[str] = set()
    for unit in answers.units:
        if unit in seen:
            raise JoshiError(f"production {when}: conversation {unit} has several answers; take one a conversation")
        seen.add(unit)
