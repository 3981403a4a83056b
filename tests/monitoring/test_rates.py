"""Exact tests of pass rates, against scipy, enumeration and published intervals."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, boschloo_exact, fisher_exact

from joshi.evaluation.measure import difference
from joshi.monitoring.drift.answers import compare
from joshi.monitoring.drift.rates import boschloo, change, fell, newcombe, stratified

from .answers import draw, probes, talks

STRATUM = st.integers(1, 3).flatmap(
    lambda before: st.integers(1, 3).flatmap(
        lambda after: st.tuples(st.integers(0, before + after), st.just(before), st.just(after))
    )
)


@settings(deadline=None)
@given(st.lists(STRATUM, min_size=1, max_size=4), st.data())
def test_the_stratified_test_is_the_share_of_all_ways_to_deal_the_passes_out(
    tables: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    today = data.draw(st.integers(0, sum(after for _, _, after in tables)))
    totals = np.zeros(1)
    for passes, before, after in tables:  # each answer of a stratum is as likely to be one of today's
        slots = np.arange(before + after)
        ways = [sum(slot < after for slot in kept) for kept in _subsets(slots, passes)]
        totals = np.add.outer(totals, np.array(ways)).ravel()
    expected = float(np.mean(totals <= today))
    assert stratified(today, tuple(tables)) == pytest.approx(expected, abs=1e-12)


def _subsets(slots: np.ndarray, size: int) -> list[tuple[int, ...]]:
    return [kept for mask in product((0, 1), repeat=len(slots)) if sum(mask) == size
            for kept in [tuple(slot for slot, on in zip(slots, mask, strict=True) if on)]]  # fmt: skip


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_one_stratum_is_fishers_test(n: int, big_n: int, data: st.DataObject) -> None:
    k, big_k = data.draw(st.integers(0, n)), data.draw(st.integers(0, big_n))
    expected = fisher_exact([[k, big_k], [n - k, big_n - big_k]], alternative="less").pvalue
    assert stratified(k, ((k + big_k, big_n, n),)) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_pairs_are_mcnemars_test(worse: int, better: int, alike: int) -> None:
    tables = ((1, 1, 1),) * (worse + better) + ((2, 1, 1),) * alike
    expected = binom.cdf(better, worse + better, 0.5)
    assert stratified(better + alike, tables) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("k", "n", "big_k", "big_n"), [(7, 10, 39, 40), (20, 30, 55, 60), (3, 9, 2, 9), (0, 5, 0, 8)])
def test_boschloos_p_is_scipys(k: int, n: int, big_k: int, big_n: int) -> None:
    found = boschloo_exact([[k, big_k], [n - k, big_n - big_k]], alternative="less", n=64)
    assert boschloo(k, n, big_k, big_n) == pytest.approx(found.pvalue, rel=2e-3)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 25), st.integers(1, 25), st.data())
def test_boschloos_p_is_never_above_fishers(n: int, big_n: int, data: st.DataObject) -> None:
    k, big_k = data.draw(st.integers(0, n)), data.draw(st.integers(0, big_n))
    assert boschloo(k, n, big_k, big_n) <= stratified(k, ((k + big_k, big_n, n),)) * (1 + 1e-9)


def test_boschloo_keeps_its_level_at_every_rate_and_finds_more_than_fisher() -> None:
    n, big_n = 20, 40
    tables = [(k, big_k) for k in range(n + 1) for big_k in range(big_n + 1)]
    ours = np.array([boschloo(k, n, big_k, big_n) for k, big_k in tables]) <= 0.05
    fishers = np.array([stratified(k, ((k + big_k, big_n, n),)) for k, big_k in tables]) <= 0.05
    k, big_k = np.array(tables).T
    for common in np.linspace(0.013, 0.987, 60):  # none of them on the grid of the code
        assert binom.pmf(k, n, common) @ (binom.pmf(big_k, big_n, common) * ours) <= 0.0501
    falls = binom.pmf(k, n, 0.7) * binom.pmf(big_k, big_n, 0.95)
    assert falls @ ours > falls @ fishers + 0.05


@pytest.mark.parametrize(
    ("k", "n", "big_k", "big_n", "low", "high"),
    [  # Newcombe 1998, table II, method 10
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 10, -0.2775, 0.2775),
    ],
)
def test_newcombes_published_intervals(k: int, n: int, big_k: int, big_n: int, low: float, high: float) -> None:
    assert newcombe(k, n, big_k, big_n) == pytest.approx((low, high), abs=1e-4)


def test_probes_are_tested_within_each_probe_and_production_as_one_table() -> None:
    rng = np.random.default_rng(5)
    one = compare("probes", draw(probes(12, 2), rng), draw(probes(12, 1), rng, kept=0.6))
    passed = one.both("passed")[:, 0]
    tables = [(int(passed[one.stratum == i].sum()), 2, 1) for i in range(12)]
    assert fell(one, passed) == pytest.approx(stratified(int(passed[one.is_today].sum()), tuple(tables)))
    other = compare("production", draw(talks(30), rng), draw(talks(20), rng, kept=0.6))
    passed = other.both("passed")[:, 0]
    assert fell(other, passed) == boschloo(int(passed[30:].sum()), 20, int(passed[:30].sum()), 30)


def test_for_the_same_probes_the_interval_is_no_narrower_than_the_paired_one() -> None:
    rng = np.random.default_rng(6)
    hard = rng.random(40) < 0.3  # probes that fail before and today
    before, after = draw(probes(40, 1), rng), draw(probes(40, 1), rng)
    before.passed[:, 0], after.passed[:, 0] = ~hard, ~hard & (rng.random(40) < 0.9)
    compared = compare("probes", before, after)
    found = change(compared, compared.both("passed")[:, 0])
    paired = difference(after.passed[:, 0].tolist(), before.passed[:, 0].tolist())
    assert found.change == pytest.approx(paired["rate"])
    assert found.low <= paired["low"] and found.high >= paired["high"]
