"""Did a rule's pass rate fall? Exact tests at any number of answers, and the interval of the difference."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.stats import binom, hypergeom

from joshi.evaluation.measure import wilson
from joshi.monitoring.drift.answers import Booleans, Compared, Floats
from joshi.monitoring.drift.means import Change

GRID = 512  # pass rates at which Boschloo's tail is looked at; finer ones change p in the fourth digit
ROUNDING = 1e-10  # relative; tables equally extreme differ in the last digits


def fell(compared: Compared, passed: Booleans) -> float:
    """One-sided p-value of "today fewer answers pass". A rule that is kept more often needs nobody's attention.

    Production is a single table of 2 × 2: Boschloo's test (1970) is exact and, at some dozens of answers, clearly more
    powerful than Fisher's, which it is built on. Of probes every one has a pass rate of its own, which no single
    nuisance parameter can stand for; conditioning on each probe's total removes them all.

    Args:
        passed: (n,) of the rows of `compared`.
    """
    before, after = compared.counts
    totals = np.bincount(compared.stratum, passed, compared.strata).astype(np.int64)
    today = int(passed[compared.is_today].sum())
    if compared.source == "probes":
        tables = zip(totals.tolist(), before.tolist(), after.tolist(), strict=True)
        return stratified(today, tuple(sorted(tables)))
    return boschloo(today, int(after[0]), int(totals[0]) - today, int(before[0]))


@lru_cache(maxsize=4_096)
def stratified(today: int, tables: tuple[tuple[int, int, int], ...]) -> float:
    """P(at most `today` passes today), each stratum's passes dealt out among its answers (Gart 1970).

    The distribution is a convolution of hypergeometric ones. A single stratum is Fisher's exact test, strata of one
    answer before and one today are McNemar's.

    Args:
        tables: of each stratum the passes in all, the answers before and the answers today.
    """
    fixed, chances = 0, np.ones(1)
    for passes, before, after in tables:
        if passes in (0, before + after):
            fixed += after if passes else 0  # every answer of this stratum agrees: nothing to deal out
        else:
            chances = np.convolve(chances, _dealt_out(passes, before, after))
    return float(min(1.0, chances[: max(today - fixed + 1, 0)].sum()))


@lru_cache(maxsize=4_096)
def _dealt_out(passes: int, before: int, after: int) -> Floats:
    """(after + 1,) chances of 0, 1, … of the passes being today's."""
    found: Floats = hypergeom.pmf(np.arange(after + 1), before + after, passes, after)
    return found


@lru_cache(maxsize=4_096)
def boschloo(k: int, n: int, big_k: int, big_n: int) -> float:
    """Boschloo's p-value (1970) of k of n against K of N, one-sided: k / n is the smaller rate.

    The probability, at the pass rate that makes it largest, of a table that Fisher's test finds at least as extreme.
    scipy's takes a second a table; a test holds the two equal.
    """
    fisher = _fisher(n, big_n)
    extreme = (fisher <= fisher[k, big_k] * (1 + ROUNDING)).astype(np.float64)
    few, many = _binomials(n), _binomials(big_n)
    return float(min(1.0, np.einsum("gi,gi->g", few @ extreme, many).max()))


@lru_cache(maxsize=8)
def _fisher(n: int, big_n: int) -> Floats:
    """(n + 1, N + 1) Fisher's one-sided p-value of every table."""
    k, big_k = np.ogrid[: n + 1, : big_n + 1]
    table: Floats = hypergeom.cdf(k, n + big_n, k + big_k, n)
    return table


@lru_cache(maxsize=8)
def _binomials(n: int) -> Floats:
    """(GRID, n + 1) binomial probabilities, at rates that lie denser towards 0 and 1, where the tail moves faster."""
    rates = np.sin(np.linspace(0, math.pi / 2, GRID)) ** 2
    found: Floats = binom.pmf(np.arange(n + 1), n, rates[:, None])
    return found


def change(compared: Compared, passed: Booleans) -> Change:
    """The two pass rates, with Newcombe's 95% interval of their difference.

    For probes the interval is wider than it had to be: that the same probes were asked is not used.
    """
    n, big_n = len(compared.after), len(compared.before)
    k, big_k = int(passed[compared.is_today].sum()), int(passed[~compared.is_today].sum())
    low, high = newcombe(k, n, big_k, big_n)
    today, before = k / n, big_k / big_n
    error = math.sqrt(today * (1 - today) / n + before * (1 - before) / big_n)
    return Change(before, today, today - before, low, high, error)


def newcombe(k: int, n: int, big_k: int, big_n: int) -> tuple[float, float]:
    """95% interval of k / n - K / N, independent samples (Newcombe 1998, method 10: from Wilson's intervals)."""
    p, q = k / n, big_k / big_n
    (l1, u1), (l2, u2) = wilson(k, n), wilson(big_k, big_n)
    low = p - q - math.hypot(p - l1, u2 - q)
    high = p - q + math.hypot(u1 - p, q - l2)
    return max(low, -1.0), min(high, 1.0)
