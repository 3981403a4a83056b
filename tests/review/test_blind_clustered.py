"""Intervals and tests by conversation: against enumeration, scipy and each other."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
from benchmarks.blind_power import covered
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest, multinomial, t

from joshi.evaluation.measure import rate
from joshi.review.blind import clustered
from joshi.review.blind.clustered import clustered_rate, flip_test

TALKS = st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=12)


def flat(talks: list[list[bool]]) -> tuple[list[float], list[int]]:
    return [float(won) for talk in talks for won in talk], [n for n, talk in enumerate(talks) for _ in talk]


# The interval


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_with_one_sample_a_conversation_it_is_the_exact_interval(won: list[bool]) -> None:
    found, exact = clustered_rate([float(one) for one in won], range(len(won))), rate(sum(won), len(won))
    assert {key: found[key] for key in exact} == pytest.approx(exact, abs=1e-9)
    assert found["effective_n"] == pytest.approx(len(won))


@settings(deadline=None)
@given(TALKS)
def test_it_is_korn_and_graubards(talks: list[list[bool]]) -> None:
    """Written out once more, from the paper: n* = n / deff (t_{n-1} / t_{K-1})^2, deff at least 1."""
    wins, of = flat(talks)
    found, n, k = clustered_rate(wins, of), len(wins), len(talks)
    p = sum(wins) / n
    if k == 1:
        size = 1.0
    elif p in (0, 1):
        size = float(k)
    else:
        between = sum((sum(talk) - p * len(talk)) ** 2 for talk in talks) * k / (k - 1) / n**2
        size = n / max(1.0, between / (p * (1 - p) / (n - 1))) * (t.ppf(0.975, n - 1) / t.ppf(0.975, k - 1)) ** 2
    x = p * size
    assert found["low"] == pytest.approx(beta.ppf(0.025, x, size - x + 1) if p else 0.0)
    assert found["high"] == pytest.approx(beta.ppf(0.975, x + 1, size - x) if p < 1 else 1.0)


@settings(deadline=None)
@given(TALKS, st.randoms())
def test_it_is_symmetric_holds_the_share_and_is_never_narrower_than_the_exact_one(
    talks: list[list[bool]], random
) -> None:  # type: ignore[no-untyped-def]
    wins, of = flat(talks)
    found, mirrored = clustered_rate(wins, of), clustered_rate([1 - won for won in wins], of)
    assert found["low"] == pytest.approx(1 - mirrored["high"], abs=1e-9)
    assert found["low"] <= found["rate"] <= found["high"]
    exact = rate(int(sum(wins)), len(wins))
    assert found["low"] <= exact["low"] + 1e-9 and found["high"] >= exact["high"] - 1e-9
    order = list(range(len(wins)))
    random.shuffle(order)
    shuffled = clustered_rate([wins[i] for i in order], [f"talk {of[i]}" for i in order])
    assert shuffled == pytest.approx(found)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=20), st.integers(2, 5))
def test_saying_everything_several_times_makes_no_sample_larger(won: list[bool], times: int) -> None:
    found = clustered_rate(
        [float(one) for one in won for _ in range(times)], np.repeat(range(len(won)), times).tolist()
    )
    once = rate(sum(won), len(won))
    assert found["effective_n"] <= len(won) + 1e-9
    assert found["low"] <= once["low"] + 1e-9 and found["high"] >= once["high"] - 1e-9


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40))
def test_ties_as_half_are_bounded_no_tighter_than_wins(values: list[float]) -> None:
    found = clustered_rate(values, range(len(values)))
    assert found["rate"] == pytest.approx(sum(values) / len(values))
    assert 0 <= found["low"] <= found["rate"] <= found["high"] <= 1
    assert found["effective_n"] <= len(values) + 1e-9


def test_no_sample_and_one_conversation_bound_nothing_much() -> None:
    assert clustered_rate([], []) == {
        "rate": 0.0, "low": 0.0, "high": 1.0, "n": 0, "conversations": 0, "effective_n": 0.0,
    }  # fmt: skip
    one = clustered_rate([1.0] * 30, ["talk"] * 30)
    assert (one["effective_n"], one["low"], one["high"]) == (1.0, pytest.approx(0.025), 1.0)


def test_it_covers_exactly_in_fifteen_conversations_of_two() -> None:
    """Not simulated: of every outcome that can be seen, by its probability, from independent to all alike."""
    talks = 15
    outcomes = [(a, b, talks - a - b) for a in range(talks + 1) for b in range(talks + 1 - a)]
    of = [n // 2 for n in range(2 * talks)]
    found = [clustered_rate([0.0, 0.0] * a + [0.0, 1.0] * b + [1.0, 1.0] * c, of) for a, b, c in outcomes]
    low, high = (np.array([one[end] for one in found]) for end in ("low", "high"))
    for truth, likeness in itertools.product((0.05, 0.2, 0.5, 0.6, 0.75, 0.9, 0.98), (0.0, 0.1, 0.3, 0.5, 0.8, 1.0)):
        both = truth**2 + likeness * truth * (1 - truth)
        none = (1 - truth) ** 2 + likeness * truth * (1 - truth)
        chance = multinomial(talks, [none, max(0.0, 1 - none - both), both]).pmf(outcomes)
        assert chance[(low <= truth) & (truth <= high)].sum() >= 0.95, (truth, likeness)


def test_it_covers_by_simulation_in_unequal_conversations_where_the_plain_one_does_not() -> None:
    by_conversation, plain = covered(20, [1, 2, 3], 0.6, likeness=0.8, draws=400, seed=3)
    assert by_conversation >= 0.93  # 95% less two standard errors
    assert plain <= 0.90


# The test


@settings(deadline=None)
@given(TALKS)
def test_exchanging_conversations_is_what_enumeration_says(talks: list[list[bool]]) -> None:
    values = [3 * n + 1 if won else -(2 * n + 1) for talk in talks for n, won in enumerate(talk)]
    of = [n for n, talk in enumerate(talks) for _ in talk]
    totals = [sum(v for v, where in zip(values, of, strict=True) if where == n) for n in range(len(talks))]
    sums = [
        abs(sum(s * x for s, x in zip(signs, totals, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(talks))
    ]
    found = flip_test(values, of)
    assert found.exact
    assert found.p == pytest.approx(np.mean([one >= abs(sum(totals)) for one in sums]))


@settings(deadline=None)
@given(st.lists(st.sampled_from([-1, 0, 1]), max_size=120))
def test_signs_give_the_exact_sign_test(signs: list[int]) -> None:
    wins, n = signs.count(1), sum(sign != 0 for sign in signs)
    expected = binomtest(wins, n).pvalue if n else 1.0
    assert flip_test(signs, range(len(signs))).p == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.integers(-9, 9), max_size=40), st.integers(1, 8))
def test_its_p_is_one_and_the_same_for_either_side(values: list[int], conversations: int) -> None:
    of = [n % conversations for n in range(len(values))]
    found = flip_test(values, of)
    assert 0 < found.p <= 1
    assert flip_test([-value for value in values], of).p == pytest.approx(found.p)


def test_it_is_no_more_than_a_coin_where_conversations_are_of_one_mind() -> None:
    """Ten wins in one conversation are one event; ten in ten conversations are ten."""
    assert flip_test([1] * 10, ["talk"] * 10).p == 1.0
    assert flip_test([1] * 10, range(10)).p == pytest.approx(2 / 2**10)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_too_large_for_enumeration_it_is_near_normal(seed: int) -> None:
    values = np.random.default_rng(seed).integers(-40, 45, 120).tolist()
    exact = flip_test(values, range(120))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustered, "MOST_STEPS", 0)
        near = flip_test(values, range(120))
    assert exact.exact and not near.exact
    assert near.p == pytest.approx(exact.p, abs=0.02)


def test_the_sign_test_errs_no_more_often_than_it_says() -> None:
    """30 pairs, no true difference: of every count of wins by its probability."""
    wrong = sum(comb(30, wins) for wins in range(31) if flip_test([1] * wins + [-1] * (30 - wins), range(30)).p <= 0.05)
    assert wrong / 2**30 <= 0.05
