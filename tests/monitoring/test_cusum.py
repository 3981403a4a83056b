"""Holm's correction and the sums over days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from joshi.monitoring.drift import cusum
from joshi.monitoring.drift.holm import adjust

P_VALUES = st.lists(st.floats(1e-6, 1), min_size=1, max_size=12)


@settings(deadline=None)
@given(P_VALUES, st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float], level: float) -> None:
    rejected = set()
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[place] > level / (len(p) - rank):
            break
        rejected.add(place)
    adjusted = adjust(p)
    doubtful = {i for i, value in enumerate(adjusted) if abs(value - level) < 1e-9}
    assert {i for i, value in enumerate(adjusted) if value <= level} - doubtful == rejected - doubtful


@settings(deadline=None)
@given(P_VALUES)
def test_adjusted_values_lie_between_p_and_bonferronis(p: list[float]) -> None:
    for one, adjusted in zip(p, adjust(p), strict=True):
        assert one <= adjusted <= min(1.0, len(p) * one) + 1e-12


def test_holm_of_no_tests() -> None:
    assert adjust([]) == []


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-10, 10)), max_size=30), st.floats(0.1, 5))
def test_a_sum_stays_within_its_bounds_and_an_absent_day_changes_nothing(
    days: list[float | None], limit: float
) -> None:
    found = cusum.sums(days, limit)
    assert all(0 <= one <= cusum.CAP * limit for one in found)
    known = [day for day in days if day is not None]
    assert cusum.sums(known, limit)[-1:] == [one for one, day in zip(found, days, strict=True) if day is not None][-1:]


def test_without_the_cap_it_is_pages_sum() -> None:
    rng = np.random.default_rng(1)
    days = rng.normal(size=200)
    walk = np.concatenate([[0.0], np.cumsum(days)])
    expected = [walk[i] - walk[: i + 1].min() for i in range(1, 201)]
    assert cusum.sums(days.tolist(), 1e9) == pytest.approx(expected)


def run_length(reference: float, limit: float, shift: float = 0.0, states: int = 200) -> float:
    """Mean days to an alarm of a normal score, by Brook and Evans's Markov chain (1972)."""
    width = 2 * limit / (2 * states - 1)
    centres = np.arange(states) * width
    upper = centres[None, :] + width / 2 - centres[:, None] + reference - shift
    chances = norm.cdf(upper) - norm.cdf(upper - width)
    chances[:, 0] = norm.cdf(upper[:, 0])
    return float(np.linalg.solve(np.eye(states) - chances, np.ones(states))[0])


def test_the_chain_gives_the_published_run_lengths() -> None:
    # Lucas and Crosier 1982, table 1: k = 0.5, h = 4, one-sided.
    assert run_length(0.5, 4) == pytest.approx(336, rel=0.01)
    assert run_length(0.5, 4, shift=1) == pytest.approx(8.38, rel=0.01)


def test_the_limits_allow_less_than_one_false_alarm_in_a_hundred_days() -> None:
    # The threshold measures at least THRESHOLD_ERRORS standard errors, or the day is not judged.
    from joshi.monitoring.drift.sample import THRESHOLD_ERRORS

    score = run_length(cusum.SCORE_REFERENCE * THRESHOLD_ERRORS, cusum.SCORE_LIMIT)
    tests = run_length(cusum.TESTS_REFERENCE, cusum.TESTS_LIMIT)
    assert 2 / score + 1 / tests < 1 / 100
    # With a fall by the whole threshold two days suffice nine times in ten, by simulation.
    rng = np.random.default_rng(2)
    days = rng.normal(THRESHOLD_ERRORS * (1 - cusum.SCORE_REFERENCE), 1, (20_000, 2))
    first = np.maximum(days[:, 0], 0)
    found = (first > cusum.SCORE_LIMIT) | (first + days[:, 1] > cusum.SCORE_LIMIT)
    assert found.mean() >= 0.9


def test_an_alarm_ends_soon_after_its_cause() -> None:
    bad = [20.0] * 30
    well = [cusum.score_increment(0.0, 0.09, 0.027)] * 5  # nothing fell, at the smallest sample
    after = cusum.sums([*bad, *well], cusum.SCORE_LIMIT)[30:]
    assert sum(total > cusum.SCORE_LIMIT for total in after) <= 2


def test_increments() -> None:
    assert cusum.score_increment(0.09, 0.09, 0.03) == pytest.approx(1.5)
    assert cusum.tests_increment(1.0) == -cusum.MOST_EVIDENCE - cusum.TESTS_REFERENCE
    assert cusum.tests_increment(1e-30) == cusum.MOST_EVIDENCE - cusum.TESTS_REFERENCE
    assert cusum.tests_increment(0.05) == pytest.approx(norm.ppf(0.95) - cusum.TESTS_REFERENCE)
