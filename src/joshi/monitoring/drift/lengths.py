"""Are answers as long as they were? Kolmogorov and Smirnov's distance between two sets of token counts."""

from __future__ import annotations

import numpy as np
from scipy.stats import ks_2samp

from joshi.monitoring.drift.answers import Booleans, Compared, Floats
from joshi.monitoring.drift.permutation import Statistic


def distance_statistic(compared: Compared, values: Floats) -> Statistic:
    """The largest gap between the two distribution functions, for `permutation.p_values`.

    Token counts tie all the time, which Kolmogorov's tables do not know; dealt-out labels do. Strata weigh alike, so
    that with probes the gap is between the means of their distribution functions; for production this is the ordinary
    statistic.
    """
    order = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) > 0, True))  # the last of each run of ties

    def distance(today: Booleans) -> Floats:
        gaps = np.cumsum(compared.contrasts(today)[:, order], axis=1)[:, ends]
        found: Floats = np.abs(gaps).max(axis=1)
        return found

    return distance


def exact(compared: Compared, values: Floats) -> float | None:
    """The exact p-value where there is one, production without ties (Hodges 1958); else None: deal out labels."""
    if compared.source == "probes" or len(np.unique(values)) < len(values):
        return None
    return float(ks_2samp(values[compared.is_today], values[~compared.is_today], method="exact").pvalue)
