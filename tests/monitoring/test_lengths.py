"""Lengths: Kolmogorov and Smirnov's distance is scipy's, and its p-value knows ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from joshi.monitoring.drift.answers import compare
from joshi.monitoring.drift.lengths import distance_statistic, exact
from joshi.monitoring.drift.permutation import p_values

from .answers import compared_scores, draw, probes, talks

LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=30)


@settings(deadline=None)
@given(LENGTHS, LENGTHS)
def test_the_distance_is_scipys_also_with_ties(before: list[int], after: list[int]) -> None:
    values = np.array([*before, *after], float)
    compared = compared_scores(
        "production", np.ones(len(before)), np.ones(len(after)), (talks(len(before)), talks(len(after)))
    )
    found = distance_statistic(compared, values)(compared.is_today[None])[0]
    assert found == pytest.approx(ks_2samp(before, after).statistic, abs=1e-12)


def test_without_ties_labels_dealt_out_agree_with_the_exact_p() -> None:
    rng = np.random.default_rng(7)
    values = np.concatenate([rng.normal(size=25), rng.normal(0.6, size=18)])
    compared = compared_scores("production", np.ones(25), np.ones(18), (talks(25), talks(18)))
    told = exact(compared, values)
    assert told == pytest.approx(ks_2samp(values[:25], values[25:], method="exact").pvalue)
    drawn = p_values({"distance": distance_statistic(compared, values)}, compared, rng, 20_000)["distance"]
    assert drawn == pytest.approx(told, rel=0.4)


def test_ties_and_probes_have_no_table() -> None:
    rng = np.random.default_rng(7)
    tied = compare("production", draw(talks(40), rng), draw(talks(40), rng))
    assert exact(tied, tied.both("tokens")) is None
    paired = compare("probes", draw(probes(4, 1), rng), draw(probes(4, 1), rng))
    assert exact(paired, np.arange(8.0)) is None


def test_probes_of_unlike_length_do_not_hide_a_change_that_they_share() -> None:
    rng = np.random.default_rng(9)
    level = np.repeat(rng.integers(20, 200, 30), 3)
    before, after = draw(probes(30, 3), rng), draw(probes(30, 3), rng)
    compared = compare("probes", before, after)
    values = np.concatenate([level, level + 4]).astype(float) + rng.random(180)
    within = p_values({"d": distance_statistic(compared, values)}, compared, rng, 999)["d"]
    assert within < 0.01 < ks_2samp(values[:90], values[90:]).pvalue
