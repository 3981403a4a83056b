"""Sums over days (Page 1954): one odd day is chance, the same oddity on the next is not.

Each day adds its evidence, less a reference value, to a sum that never falls below zero; over its limit, the sum is an
alarm. `benchmarks/drift.py` measures what the limits below promise.

- Of the empathy score, one sum a source: the day's fall beyond half the threshold, in standard errors. Half the change
  that shall be found is Page's own choice of reference: while the score is where it was, or fell by less than that, a
  day takes more away than chance adds.
- Of everything together: the smallest p-value of the day, after Holm's correction, as a normal score.
"""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import norm

SCORE_REFERENCE = 0.5  # of the threshold
SCORE_LIMIT = 1.5  # standard errors
TESTS_REFERENCE = 1.25  # standard normal; a day whose p is above 0.11 takes away
TESTS_LIMIT = 2.0
MOST_EVIDENCE = 4.0  # of one day in the sum of tests: p = 0.00003
CAP = 2.0  # no sum grows beyond so many limits: when the model is mended the alarm ends within days, not weeks


def score_increment(fall: float, threshold: float, error: float) -> float:
    """What a day adds to a score's sum, in standard errors; `fall` and `threshold` in points of the score."""
    return (fall - SCORE_REFERENCE * threshold) / error


def tests_increment(p: float) -> float:
    """What a day's smallest adjusted p-value adds to the sum of tests."""
    return max(-MOST_EVIDENCE, min(MOST_EVIDENCE, float(norm.isf(p)))) - TESTS_REFERENCE


def sums(increments: Sequence[float | None], limit: float) -> list[float]:
    """The sum after each day, 0 to CAP limits; a day without enough data leaves it as it was."""
    found, total = [], 0.0
    for increment in increments:
        if increment is not None:
            total = min(max(0.0, total + increment), CAP * limit)
        found.append(total)
    return found
