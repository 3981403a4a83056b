"""How far a mean moved since release, with its interval: of the empathy score, of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from joshi.monitoring.drift.answers import Booleans, Compared, Floats
from joshi.monitoring.drift.permutation import Statistic

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Change:
    """Means in the unit of the values; `error` is the standard error of `change`."""

    before: float
    today: float
    change: float
    low: float
    high: float
    error: float


def change(compared: Compared, values: Floats, resolution: float = 0.0) -> Change:
    """Today's mean less that at release, with Student's 95% interval.

    Of probes, over the probes' own differences: how unlike they are to one another does not count, and several answers
    to one are not taken for independent. Of production, with unequal variances (Welch 1947).

    Args:
        values: (n,) of the rows of `compared`.
        resolution: the least that one answer's value can move. The standard error is at least what that makes of the
            mean: where answers hardly vary, nothing finer was measured.
    """
    today = compared.is_today
    before, after = compared.counts
    if compared.source == "probes":
        sums = [np.bincount(compared.stratum[rows], values[rows], compared.strata) for rows in (~today, today)]
        means = sums[0] / before, sums[1] / after  # (strata,)
        each = means[1] - means[0]
        error, freedom = float(each.std(ddof=1)) / len(each) ** 0.5, len(each) - 1.0
        level = float(means[0].mean())
    else:
        parts = [values[rows].var(ddof=1) / rows.sum() for rows in (~today, today)]
        error = float(sum(parts)) ** 0.5
        spread = sum(part**2 / (rows.sum() - 1) for part, rows in zip(parts, (~today, today), strict=True))
        freedom = float(sum(parts) ** 2 / spread) if spread else float(len(values) - 2)
        level = float(values[~today].mean())
    moved = float(compared.contrast @ values)
    error = max(error, resolution / len(compared.after))
    half = float(student.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Change(level, level + moved, moved, moved - half, moved + half, error)


def fall_statistic(compared: Compared, values: Floats) -> Statistic:
    """How far the mean fell, for `permutation.p_values`: one-sided, as a rise is no fault."""

    def fall(today: Booleans) -> Floats:
        found: Floats = -(compared.contrasts(today) @ values)
        return found

    return fall
