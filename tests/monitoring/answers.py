"""Answers for the drift tests, small and quick to judge."""

from __future__ import annotations

import numpy as np

from joshi.monitoring.drift.answers import Answers, Compared, Source, compare
from joshi.rubric import RULES, WEIGHTS

SHARES = np.array([WEIGHTS[rule] for rule in RULES])


def draw(
    units: list[str], rng: np.random.Generator, kept: float = 0.9, tokens: float = 60, shift: float = 0.0
) -> Answers:
    """Each rule is kept with a probability, lengths are about `tokens`, embeddings move by `shift`."""
    n = len(units)
    passed = rng.random((n, len(RULES))) < kept
    lengths = rng.poisson(tokens, n).astype(np.int64)
    vectors = rng.normal(size=(n, 6)) + shift
    return Answers(tuple(units), passed @ SHARES, passed, lengths, vectors)


def probes(count: int, draws: int) -> list[str]:
    return [f"p{probe}" for probe in range(count) for _ in range(draws)]


def talks(count: int) -> list[str]:
    return [f"t{talk}" for talk in range(count)]


def compared_scores(
    source: Source, before: np.ndarray, after: np.ndarray, units: tuple[list[str], list[str]]
) -> Compared:
    return compare(source, _of(before, units[0]), _of(after, units[1]))


def _of(scores: np.ndarray, units: list[str]) -> Answers:
    n = len(units)
    return Answers(tuple(units), scores, np.ones((n, len(RULES)), bool), np.ones(n, np.int64), np.zeros((n, 2)))
