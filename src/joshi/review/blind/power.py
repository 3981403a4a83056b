"""What a sign test of so many decided pairs can find: exact power, never of the rate that was observed."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm

LEVEL = 0.05  # two-sided
WANTED = 0.8  # power
RATES = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)  # true win rates that tables are made for


def fewest_wins(pairs: int) -> int | None:
    """The fewest wins of so many decided pairs that the two-sided sign test at 5% calls a preference; None below 6."""
    wins = int(binom.isf(LEVEL / 2, pairs, 0.5)) + 1 if pairs else 1
    return wins if wins <= pairs else None


def power(pairs: int, rate: float) -> float:
    """The chance that the test finds a preference, for either side, if the true win rate is `rate` (0..1)."""
    wins = fewest_wins(pairs)
    return 0.0 if wins is None else float(binom.sf(wins - 1, pairs, rate) + binom.cdf(pairs - wins, pairs, rate))


def detectable(pairs: int, wanted: float = WANTED) -> float | None:
    """The true win rate above one half from which on power reaches `wanted`; None if so few pairs never reach it."""
    if fewest_wins(pairs) is None:
        return None
    return float(brentq(lambda rate: power(pairs, rate) - wanted, 0.5, 1.0))


def pairs_needed(rate: float, wanted: float = WANTED) -> tuple[int, int]:
    """How many decided pairs first reach the power `wanted`, and from how many on it stays: it rises in a saw-tooth.

    Args:
        rate: the true win rate, above 0.5 and at most 1.
    """
    z = norm.ppf(1 - LEVEL / 2) / 2 + norm.ppf(wanted) * math.sqrt(rate * (1 - rate))
    bound = math.ceil(2 * (z / (rate - 0.5)) ** 2) + 50  # twice the normal approximation: past every tooth
    pairs = np.arange(1, bound + 1)
    wins = binom.isf(LEVEL / 2, pairs, 0.5) + 1
    found = binom.sf(wins - 1, pairs, rate) + binom.cdf(pairs - wins, pairs, rate)
    return int(pairs[found >= wanted].min()), int(pairs[found < wanted].max()) + 1
