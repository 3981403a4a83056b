"""Intervals and tests that know that the samples of one conversation resemble each other."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm, t

from joshi.evaluation.measure import CONFIDENCE

MOST_STEPS = 200_000_000  # additions that an exact sum may take, under a second; beyond, it is near normal


def clustered_rate(values: Sequence[float], clusters: Sequence[Hashable]) -> dict[str, Any]:
    """A share with its 95% interval of Clopper and Pearson on the effective sample size (Korn and Graubard 1998).

    The design effect is the between-conversation variance of the share, linearised, over that of independent samples;
    the effective size is n over it, times (t(n-1) / t(K-1))^2 for K conversations. Two choices make it no narrower:
    a design effect below 1 counts as 1, and where all values agree, so that no variance can be seen, a conversation
    counts as one sample. With one sample a conversation it is exactly Clopper and Pearson's interval.

    Args:
        values: 0..1 each: 1 a win, 0 a loss; 0.5, a tie, has less variance than the binomial supposed here, so that
            the interval is too wide rather than too narrow.
        clusters: the conversation of each.
    """
    n, k = len(values), len(set(clusters))
    if n == 0:
        return {"rate": 0.0, "low": 0.0, "high": 1.0, "n": 0, "conversations": 0, "effective_n": 0.0}
    share = math.fsum(values) / n
    effective = _effective_size(np.asarray(values, np.float64) - share, cluster_index(clusters), share)
    hits, tail = share * effective, (1 - CONFIDENCE) / 2
    return {
        "rate": share,
        "low": float(beta.ppf(tail, hits, effective - hits + 1)) if share > 0 else 0.0,
        "high": float(beta.ppf(1 - tail, hits + 1, effective - hits)) if share < 1 else 1.0,
        "n": n,
        "conversations": k,
        "effective_n": effective,
    }


def _effective_size(residuals: NDArray[np.float64], cluster: NDArray[np.intp], share: float) -> float:
    n, k = len(residuals), int(cluster.max()) + 1
    if k == 1:
        return 1.0
    if share in (0, 1):
        return float(k)
    sums = np.bincount(cluster, residuals)
    variance = k / (k - 1) * float(sums @ sums) / n**2
    design_effect = variance / (share * (1 - share) / (n - 1))
    quantile = (1 + CONFIDENCE) / 2
    return float(n / max(design_effect, 1.0) * (t.ppf(quantile, n - 1) / t.ppf(quantile, k - 1)) ** 2)


def cluster_index(clusters: Sequence[Hashable]) -> NDArray[np.intp]:
    """The clusters numbered from 0 in the order in which they are first met."""
    number = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    return np.array([number[cluster] for cluster in clusters], np.intp)


@dataclass(frozen=True)
class FlipTest:
    """Two-sided p of a sum whose parts are as likely to be negative as positive."""

    p: float
    exact: bool


def flip_test(values: Sequence[int], clusters: Sequence[Hashable]) -> FlipTest:
    """Whether a sum is further from 0 than if each conversation's part had either sign by the toss of a coin.

    If the two systems were alike, their names could be exchanged in any conversation, which turns the signs of all its
    values at once; whatever binds them stays. The distribution over all 2^K exchanges is summed up exactly. With one
    value a conversation, signs give the sign test, and signed ranks Wilcoxon's (1945). With several, signed ranks give
    the clustered test of Rosner, Glynn and Lee (2006), exact where theirs is near normal.
    """
    totals = np.bincount(cluster_index(clusters), np.asarray(values, np.float64)) if len(values) else np.zeros(0)
    parts = np.abs(totals[totals != 0]).astype(np.int64)
    seen, most = abs(int(totals.sum())), int(parts.sum())
    if most * len(parts) > MOST_STEPS:
        return FlipTest(float(min(1.0, 2 * norm.sf(seen / math.sqrt(float(parts @ parts))))), False)
    chance = np.zeros(most + 1)  # of each sum of the parts whose sign is positive
    chance[0] = 1.0
    for part in parts:
        chance[part:] += chance[:-part]  # numpy reads the right side whole before it writes
        chance /= 2
    return FlipTest(float(min(1.0, chance[np.abs(2 * np.arange(most + 1) - most) >= seen].sum())), True)
