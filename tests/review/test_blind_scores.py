"""Wilcoxon, Holm and McNemar against scipy and their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import PermutationMethod, binomtest, wilcoxon

from joshi.review.blind.comparisons import compare
from joshi.review.blind.judgement import SCORES
from joshi.review.blind.scores import holm, mean_difference, mentions, scores, signed_rank

from .blind_reviews import drawn, judgement

DIFFERENCES = st.lists(st.integers(-4, 4), min_size=1, max_size=11)


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40, unique=True), st.randoms())
def test_without_ties_it_is_the_exact_signed_rank_test(sizes: list[int], random) -> None:  # type: ignore[no-untyped-def]
    differences = [random.choice((-1, 1)) * size for size in sizes]
    expected = wilcoxon(differences, method="exact")
    found = signed_rank(differences, range(len(differences)))
    assert found["exact"]
    assert found["p"] == pytest.approx(expected.pvalue)
    assert min(found["plus"], found["minus"]) == expected.statistic


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-4, 4), min_size=2, max_size=8))
def test_with_ties_and_zeros_it_is_pratts_with_every_exchange_of_signs(differences: list[int]) -> None:
    assume(any(differences))
    every = PermutationMethod(n_resamples=np.inf)
    expected = wilcoxon(differences, zero_method="pratt", method=every)
    assert signed_rank(differences, range(len(differences)))["p"] == pytest.approx(expected.pvalue)


@settings(deadline=None)
@given(DIFFERENCES)
def test_ranks_and_counts_add_up(differences: list[int]) -> None:
    found, n = signed_rank(differences, ["talk"] * len(differences)), len(differences)
    zeros = differences.count(0)
    assert (found["n"], found["zeros"]) == (n - zeros, zeros)
    assert found["plus"] + found["minus"] == pytest.approx(n * (n + 1) / 2 - zeros * (zeros + 1) / 2)
    assert found["p_clustered"] == 1.0  # one conversation is one event


def test_zeros_count_in_the_ranking() -> None:
    """Pratt's point: what is dropped before ranking makes the rest look larger."""
    differences = [0, 0, 0, 0, 1, 2, 3, 4, 5, -6]
    ranked = signed_rank(differences, range(10))
    assert (ranked["plus"], ranked["minus"]) == (5 + 6 + 7 + 8 + 9, 10)
    dropped = signed_rank([d for d in differences if d], range(6))
    assert (dropped["plus"], dropped["minus"]) == (15, 6)
    assert ranked["p"] < dropped["p"]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.001, 0.999))
def test_holm_rejects_what_stepping_down_rejects(p: list[float], level: float) -> None:
    rejected = set()
    for step, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        if (len(p) - step) * p[place] > level:
            break
        rejected.add(place)
    assert {place for place, adjusted in enumerate(holm(p)) if adjusted <= level} == rejected
    assert all(given <= adjusted <= 1 for given, adjusted in zip(p, holm(p), strict=True))


def test_holm_of_three_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


@settings(deadline=None)
@given(st.integers(0, 15), st.integers(0, 15), st.integers(0, 9), st.integers(0, 9))
def test_mentions_have_mcnemars_exact_test(shipped: int, baseline: int, both: int, neither: int) -> None:
    pairs = [(True, False)] * shipped + [(False, True)] * baseline + [(True, True)] * both + [(False, False)] * neither
    found = mentions(
        compare(
            judgement(f"talk-{n}/1", mentions_internals={"shipped": a, "baseline": b}) for n, (a, b) in enumerate(pairs)
        )
    )
    assert (found["only_shipped"], found["only_baseline"]) == (shipped, baseline)
    assert (found["shipped"]["count"], found["baseline"]["count"]) == (shipped + both, baseline + both)
    expected = binomtest(shipped, shipped + baseline).pvalue if shipped + baseline else 1.0
    assert found["mcnemar"]["p"] == found["mcnemar"]["p_clustered"] == pytest.approx(expected)


def test_scores_are_counted_by_judgement_and_averaged_by_sample() -> None:
    judged = [
        judgement("a/1", shipped=5, baseline=1),
        judgement("b/1", shipped=3),
        judgement("b/1", "tie", "Raj", shipped=4),
    ]
    found = scores(compare(judged), seed=7)["tone"]
    assert found["shipped"] == {"mean": (5 + 3.5) / 2, "counts": [0, 0, 1, 1, 1]}
    assert found["baseline"] == {"mean": 2.0, "counts": [1, 0, 2, 0, 0]}
    assert found["difference"]["mean"] == pytest.approx(2.25)
    assert found["difference"]["low"] <= 2.25 <= found["difference"]["high"]


def test_the_same_score_for_everything_shows_nothing() -> None:
    found = scores(compare(judgement(f"talk-{n}/1", "tie", shipped=3) for n in range(30)), seed=7)
    for score in SCORES:
        assert found[score]["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
        assert (found[score]["wilcoxon"]["n"], found[score]["wilcoxon"]["p"], found[score]["wilcoxon"]["p_holm"]) == (
            0,
            1.0,
            1.0,
        )


def test_one_conversation_alone_has_no_interval() -> None:
    assert mean_difference([1.0, 2.0], ["talk", "talk"], seed=7) == {"mean": 1.5, "low": None, "high": None}
    assert mean_difference([], [], seed=7) == {"mean": None, "low": None, "high": None}


def test_holm_is_over_the_three_scores() -> None:
    found = scores(compare(drawn(1)), seed=7)
    clustered = [found[score]["wilcoxon"]["p_clustered"] for score in SCORES]
    assert [found[score]["wilcoxon"]["p_holm"] for score in SCORES] == pytest.approx(holm(clustered))
