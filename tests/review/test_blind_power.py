"""What a sign test of so many pairs can find, against every count of wins by its probability."""

from __future__ import annotations

from itertools import pairwise
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from joshi.review.blind.power import RATES, detectable, fewest_wins, pairs_needed, power


def enumerated(pairs: int, rate: float) -> float:
    """The chance that scipy's exact binomial test says p <= 5%."""
    found = [wins for wins in range(pairs + 1) if binomtest(wins, pairs).pvalue <= 0.05]
    return sum(comb(pairs, wins) * rate**wins * (1 - rate) ** (pairs - wins) for wins in found)


@pytest.mark.parametrize("pairs", [1, 5, 6, 7, 12, 29, 30, 31, 64])
def test_power_is_what_enumeration_says(pairs: int) -> None:
    for rate in (0.5, 0.6, 0.75, 0.9, 1.0):
        assert power(pairs, rate) == pytest.approx(enumerated(pairs, rate), abs=1e-12)
    wins = next((k for k in range(pairs // 2 + 1, pairs + 1) if binomtest(k, pairs).pvalue <= 0.05), None)
    assert fewest_wins(pairs) == wins


def test_thirty_pairs_reach_eighty_percent_at_a_win_rate_of_three_quarters() -> None:
    assert detectable(30) == pytest.approx(0.749, abs=0.001)
    assert power(30, 0.75) == pytest.approx(0.803, abs=0.001)
    assert power(30, 0.74) < 0.8
    assert fewest_wins(30) == 21


def test_under_six_pairs_find_nothing() -> None:
    for pairs in range(6):
        assert (fewest_wins(pairs), detectable(pairs), power(pairs, 1.0)) == (None, None, 0.0)
    assert detectable(6) == pytest.approx(0.8 ** (1 / 6), abs=1e-6)  # all six, and the other way round is negligible


@settings(deadline=None, max_examples=30)
@given(st.integers(6, 400), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_detectable_rate_has_the_power_asked_for(pairs: int, wanted: float) -> None:
    rate = detectable(pairs, wanted)
    assert rate is not None and 0.5 < rate <= 1
    assert power(pairs, rate) == pytest.approx(wanted, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(6, 300))
def test_power_rises_with_the_rate_and_errs_in_five_percent_at_most(pairs: int) -> None:
    assert power(pairs, 0.5) <= 0.05
    curve = [power(pairs, 0.5 + step / 50) for step in range(26)]
    assert all(one <= other + 1e-12 for one, other in pairwise(curve))
    assert power(pairs, 0.3) == pytest.approx(power(pairs, 0.7))


@pytest.mark.parametrize("rate", RATES)
def test_pairs_needed_first_reach_the_power_and_then_keep_it(rate: float) -> None:
    first, lasting = pairs_needed(rate)
    assert power(first, rate) >= 0.8 > max(power(pairs, rate) for pairs in range(first))
    assert power(lasting - 1, rate) < 0.8 or lasting == first
    assert all(power(pairs, rate) >= 0.8 for pairs in range(lasting, lasting + 300))


def test_pairs_needed_in_figures() -> None:
    assert pairs_needed(0.75) == (30, 35)
    assert pairs_needed(1.0) == (6, 6)
