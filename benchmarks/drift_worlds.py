"""Worlds for benchmarks/drift.py: days of answers drawn from real ones, and ways in which they get worse.

`drift_answers.jsonl` holds what the example's tuned model really answered to 44 messages it was not trained on, eight
times each with other seeds as in production, and what its base answered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from joshi import embedding
from joshi.monitoring.drift.answers import Answers
from joshi.monitoring.drift.judge import Baseline, Today
from joshi.rubric import RULES, WEIGHTS

ANSWERS = Path(__file__).with_name("drift_answers.jsonl")
SHARES = np.array([WEIGHTS[rule] for rule in RULES])
FIRST_DAY = date(2026, 1, 1)


@dataclass(frozen=True)
class Sizes:
    probes: int
    draws: int
    release_draws: int
    production: int
    release_production: int


@dataclass(frozen=True, eq=False)
class Pool:
    """Real answers by message and draw, and the base's to the same messages."""

    passed: np.ndarray  # (messages, draws, rules)
    tokens: np.ndarray  # (messages, draws)
    embeddings: np.ndarray  # (messages, draws, size)
    base: Pool | None = None

    @property
    def mean(self) -> float:
        return float((self.passed @ SHARES).mean())


def load() -> Pool:
    found: dict[str, dict[str, list[dict[str, Any]]]] = {"shipped": {}, "base": {}}
    with ANSWERS.open(encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            found[line["system"]].setdefault(line["message"], []).append(line)
    pools: list[Pool] = []
    for system in ("base", "shipped"):
        rows = [found[system][message] for message in sorted(found[system])]
        passed = np.array([[[rule not in one["failed"] for rule in RULES] for one in row] for row in rows])
        tokens = np.array([[one["tokens"] for one in row] for row in rows])
        vectors = embedding.encode([str(one["answer"]) for row in rows for one in row])
        pools.append(Pool(passed, tokens, vectors.reshape(*tokens.shape, -1), pools[0] if pools else None))
    return pools[1]


def release(pool: Pool, sizes: Sizes, rng: np.random.Generator) -> tuple[Baseline, np.ndarray]:
    """The answers known of a release, and the messages chosen as its probes."""
    probes = rng.permutation(len(pool.tokens))[: sizes.probes]
    asked = np.repeat(probes, sizes.release_draws)
    sent = rng.integers(0, len(pool.tokens), sizes.release_production)
    known = Baseline("r1", _answers(pool, asked, rng), _answers(pool, sent, rng, one_each=True))
    return known, probes


def day(
    number: int, pool: Pool, sizes: Sizes, probes: np.ndarray, fall: float, world: str, rng: np.random.Generator
) -> Today:
    """One day's answers after a fall of the mean empathy score by a share, brought about as `world` says."""
    asked = np.repeat(probes, sizes.draws)
    likely = rng.dirichlet(np.ones(len(pool.tokens))) if world == "restless" else None  # whose turn it is to write
    sent = rng.choice(len(pool.tokens), sizes.production, p=likely)
    return Today(
        FIRST_DAY + timedelta(days=number),
        _answers(pool, asked, rng, fall, world),
        _answers(pool, sent, rng, fall, world, one_each=True) if sizes.production else None,
    )


def _answers(
    pool: Pool,
    messages: np.ndarray,
    rng: np.random.Generator,
    fall: float = 0.0,
    world: str = "rules",
    one_each: bool = False,
) -> Answers:
    draw = rng.integers(0, pool.tokens.shape[1], len(messages))
    passed, tokens = pool.passed[messages, draw], pool.tokens[messages, draw]
    vectors = pool.embeddings[messages, draw]
    if world in ("rules", "restless"):  # each rule that is kept is broken with this probability; the text stays
        passed = passed & (rng.random(passed.shape) >= fall)
    elif world == "answers":  # such a share of answers breaks every rule; the text stays
        passed = passed & (rng.random((len(messages), 1)) >= fall)
    else:  # such a share of answers is the untuned base's
        assert pool.base is not None
        share = fall * pool.mean / (pool.mean - pool.base.mean)
        wrong = rng.random(len(messages)) < share
        passed = np.where(wrong[:, None], pool.base.passed[messages, 0], passed)
        tokens = np.where(wrong, pool.base.tokens[messages, 0], tokens)
        vectors = np.where(wrong[:, None], pool.base.embeddings[messages, 0], vectors)
    units = tuple(f"talk {i}" if one_each else f"probe {message}" for i, message in enumerate(messages))
    return Answers(units, passed @ SHARES, passed, tokens, vectors)
