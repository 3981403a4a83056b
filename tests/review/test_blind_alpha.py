"""Krippendorff's alpha: his published values, its definition by pairs, and the bootstrap done slowly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from joshi.review.blind import alpha as module
from joshi.review.blind.agreement import agreement, words
from joshi.review.blind.alpha import Level, alpha
from joshi.review.blind.comparisons import compare
from joshi.review.blind.judgement import SCORES

from .blind_reviews import drawn, judgement

LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
UNITS = st.lists(st.lists(st.integers(0, 4), max_size=5), min_size=1, max_size=8)


def units_of(*observers: str) -> list[list[int]]:
    """A column each, '.' for a gap; digits or letters as whole numbers from 0."""
    first = "a" if observers[0][0].isalpha() else "0"
    return [[ord(value) - ord(first) for value in column if value != "."] for column in zip(*observers, strict=True)]


def by_pairs(units: list[list[int]], level: Level) -> float | None:
    """Alpha as 1 less the mean difference within units over that between any two values; nothing is tabulated."""
    paired = [unit for unit in units if len(unit) > 1]
    values = [value for unit in paired for value in unit]
    n = len(values)

    def apart(a: int, b: int) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return float((a - b) ** 2)
        low, high = min(a, b), max(a, b)
        between = sum(low <= value <= high for value in values)
        return (between - (values.count(a) + values.count(b)) / 2) ** 2

    observed = sum(apart(a, b) / (len(unit) - 1) for unit in paired for a, b in itertools.permutations(unit, 2))
    expected = sum(apart(a, b) for a, b in itertools.permutations(values, 2))
    return 1 - (observed / n) / (expected / (n * (n - 1))) if expected else None


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_example_of_four_observers_with_gaps(level: Level, published: float) -> None:
    """Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", example C; A and B are below."""
    units = units_of("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    assert (len(units), sum(map(len, units))) == (12, 41)
    found = alpha(units, range(12), 6, level, seed=7)
    assert (found["units"], found["values"]) == (11, 40)  # one unit has a single value
    assert round(found["alpha"], 3) == published


def test_krippendorffs_example_of_two_observers_and_two_values() -> None:
    assert round(alpha(units_of("0100000010", "1110010000"), range(10), 2, "nominal", 7)["alpha"], 3) == 0.095


def test_krippendorffs_example_of_two_observers_and_five_values() -> None:
    assert round(alpha(units_of("aabbdcccedda", "babbbccceddd"), range(12), 5, "nominal", 7)["alpha"], 3) == 0.692


@settings(deadline=None)
@given(UNITS, st.sampled_from(LEVELS))
def test_it_is_its_definition_by_pairs(units: list[list[int]], level: Level) -> None:
    expected = by_pairs(units, level) if any(len(unit) > 1 for unit in units) else None
    found = alpha(units, ["talk"] * len(units), 5, level, seed=7)
    assert found["alpha"] == (None if expected is None else pytest.approx(expected, abs=1e-9))
    assert (found["low"], found["high"]) == (None, None)  # one conversation cannot vary


@settings(deadline=None)
@given(UNITS, st.randoms())
def test_who_said_it_and_in_what_order_does_not_matter(units: list[list[int]], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = [random.sample(unit, len(unit)) for unit in units]
    assert alpha(shuffled, [0] * len(units), 5, "ordinal", 7) == alpha(units, [0] * len(units), 5, "ordinal", 7)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=10), st.sampled_from(LEVELS))
def test_perfect_agreement_is_one_and_a_single_value_is_not_defined(values: list[int], level: Level) -> None:
    found = alpha([[value] * 3 for value in values], range(len(values)), 5, level, 7)["alpha"]
    assert found == (None if len(set(values)) == 1 else pytest.approx(1.0))


def test_reviewers_who_always_differ_do_worse_than_chance() -> None:
    assert alpha([[0, 1], [1, 0]] * 5, range(10), 2, "nominal", 7)["alpha"] < 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=3), min_size=3, max_size=6), st.sampled_from(LEVELS))
def test_the_bootstrap_draws_whole_conversations(units: list[list[int]], level: Level) -> None:
    assume(by_pairs(units, level) is not None)
    of = [n // 2 for n in range(len(units))]
    talks = [[unit for unit, where in zip(units, of, strict=True) if where == n] for n in range(max(of) + 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DRAWS", 40)
        found = alpha(units, of, 3, level, seed=11)
    draws = np.random.default_rng(11).multinomial(len(talks), np.full(len(talks), 1 / len(talks)), 40)
    values = []
    for drawn_times in draws:
        chosen = [unit for times, talk in zip(drawn_times, talks, strict=True) for _ in range(times) for unit in talk]
        values.append(by_pairs(chosen, level) or 0.0)  # one value alone shows no agreement
    expected = np.quantile(values, [0.025, 0.975])
    assert [found["low"], found["high"]] == pytest.approx(expected, abs=1e-9)


# Of a review


def test_only_what_several_reviewers_judged_tells_of_agreement() -> None:
    alone = compare(judgement(f"talk-{n}/1") for n in range(30))
    found = agreement(alone, seed=7)
    assert (found["samples"], found["reviewers"], found["preferred"]["alpha"]) == (0, 0, None)
    assert found["preferred"]["said"] == "unknown"
    shared = agreement(compare(drawn(3)), seed=7)
    assert (shared["samples"], shared["reviewers"], shared["few"]) == (10, 2, True)
    assert shared["preferred"]["units"] == 10
    assert {shared["scores"][score]["units"] for score in SCORES} == {20}  # either answer
    assert shared["mentions_internals"]["values"] == 40


def test_scores_are_ordinal_and_preferences_are_not() -> None:
    said = [(("shipped", 5), ("tie", 4)), (("tie", 4), ("baseline", 5)), (("baseline", 1), ("baseline", 2))]
    found = agreement(
        compare(
            judgement(f"talk-{n}/1", preferred, reviewer, shipped=score, baseline=1 + n % 2)
            for n, pair in enumerate(said)
            for reviewer, (preferred, score) in zip(("Ana", "Raj"), pair, strict=True)
        ),
        seed=7,
    )
    answers = [[4, 3], [0, 0], [3, 4], [1, 1], [0, 1], [0, 0]]
    assert found["scores"]["tone"]["alpha"] == pytest.approx(by_pairs(answers, "ordinal"))
    assert found["preferred"]["alpha"] == pytest.approx(by_pairs([[2, 1], [1, 0], [0, 0]], "nominal"))


def test_words_for_alpha_are_krippendorffs() -> None:
    assert [words(value) for value in (None, 0.0, 0.66, 0.667, 0.79, 0.8, 1.0)] == [
        "unknown", "weak", "weak", "tentative", "tentative", "reliable", "reliable",
    ]  # fmt: skip
