"""p-values by dealing labels out anew, as many times as a decision needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from joshi.monitoring.drift.answers import Booleans, Compared, Floats

Statistic = Callable[[Booleans], Floats]  # (draws, n) which rows are today's -> (draws,), large where they differ
ENOUGH = 50  # draws at least as extreme as what was seen, after which p is known to about a seventh
CHUNK = 125  # draws evaluated together: plain days need few, and memory is bounded
ROUNDING = 1e-9  # of the largest value: scores are sums of tenths, and equal sums may differ in the last digit


def p_values(
    statistics: Mapping[str, Statistic], compared: Compared, rng: np.random.Generator, most: int
) -> dict[str, float]:
    """One p-value a statistic; never too small in the long run, whatever the answers are distributed like.

    Labels are exchangeable within a stratum while nothing has changed, so that the share of draws at least as extreme
    is a p-value (Phipson and Smyth 2010). A statistic that has met ENOUGH such draws needs no more (Besag and Clifford
    1991): plain days cost little, and only a small p takes all `most` draws.

    Returns:
        values in [1 / (most + 1), 1].
    """
    seen = {name: float(statistic(compared.is_today[None])[0]) for name, statistic in statistics.items()}
    found: dict[str, float] = {}
    hits = dict.fromkeys(statistics, 0)
    drawn = 0
    while len(found) < len(statistics):
        labels = compared.relabelled(rng, min(CHUNK, most - drawn))
        for name, statistic in statistics.items():
            if name in found:
                continue
            values = statistic(labels)
            extreme = values >= seen[name] - ROUNDING * max(abs(seen[name]), float(np.abs(values).max()))
            total = hits[name] + np.cumsum(extreme)
            if total[-1] >= ENOUGH:
                found[name] = ENOUGH / (drawn + int(np.argmax(total >= ENOUGH)) + 1)
            hits[name] = int(total[-1])
        drawn += len(labels)
        if drawn >= most:
            found |= {name: (hits[name] + 1) / (most + 1) for name in statistics if name not in found}
    return found
