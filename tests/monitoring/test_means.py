"""Mean changes and their intervals, against scipy and by coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test, ttest_ind, ttest_rel

from joshi.monitoring.drift.means import change, fall_statistic
from joshi.monitoring.drift.permutation import p_values

from .answers import compared_scores, probes, talks

SCORES = st.lists(st.sampled_from([0.2, 0.55, 0.7, 0.85, 0.9, 1.0]), min_size=3, max_size=40)


@settings(deadline=None)
@given(SCORES, SCORES)
def test_production_has_welchs_interval(before: list[float], after: list[float]) -> None:
    one, other = np.array(before), np.array(after)
    compared = compared_scores("production", one, other, (talks(len(one)), talks(len(other))))
    found = change(compared, compared.both("scores"))
    assert found.change == pytest.approx(other.mean() - one.mean(), abs=1e-12)
    if one.std() + other.std() > 0:
        expected = ttest_ind(other, one, equal_var=False).confidence_interval()
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.2, 0.9, 1.0]), st.sampled_from([0.3, 0.9, 1.0])), min_size=3, max_size=30))
def test_probes_have_the_interval_of_pairs(pairs: list[tuple[float, float]]) -> None:
    before, after = np.array(pairs).T
    compared = compared_scores("probes", before, after, (probes(len(pairs), 1), probes(len(pairs), 1)))
    found = change(compared, compared.both("scores"))
    if (after - before).std() > 1e-9:
        expected = ttest_rel(after, before).confidence_interval()
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_where_answers_do_not_vary_the_interval_is_as_wide_as_what_can_be_told() -> None:
    ones = np.ones(40)
    compared = compared_scores("probes", ones, ones, (probes(20, 2), probes(20, 2)))
    found = change(compared, compared.both("scores"), resolution=0.05)
    assert found.error == pytest.approx(0.05 / 40)
    assert found.low < 0 < found.high


def test_what_unlike_probes_have_does_not_widen_the_interval() -> None:
    level = np.linspace(0, 1, 30)  # of each probe
    before, after = np.repeat(level, 2), level.copy()
    after[0] += 0.01
    compared = compared_scores("probes", before, after, (probes(30, 2), probes(30, 1)))
    assert change(compared, compared.both("scores")).error < 0.001


def test_the_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(1_000):
        difficulty = rng.random(25) * 0.4
        scores = [np.where(rng.random(25 * n) < 0.2 + np.repeat(difficulty, n), 0.55, 1.0) for n in (6, 3)]
        compared = compared_scores("probes", *scores, (probes(25, 6), probes(25, 3)))
        found = change(compared, compared.both("scores"))
        held += found.low <= 0 <= found.high
    assert 0.93 <= held / 1_000 <= 0.97


def test_the_permutation_test_is_scipys() -> None:
    rng = np.random.default_rng(4)
    before, after = rng.beta(8, 2, 30), rng.beta(7, 3, 20)
    compared = compared_scores("production", before, after, (talks(30), talks(20)))
    ours = p_values({"fall": fall_statistic(compared, compared.both("scores"))}, compared, rng, 20_000)["fall"]
    theirs = permutation_test(
        (before, after), lambda x, y: x.mean() - y.mean(), n_resamples=20_000, alternative="greater", rng=rng
    )
    assert ours == pytest.approx(theirs.pvalue, rel=0.4)  # known to a seventh after fifty extreme draws
