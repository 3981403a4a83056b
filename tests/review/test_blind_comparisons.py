"""What a reviewer may say, and how several judgements of a sample become one comparison."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from joshi.errors import JoshiError
from joshi.review.blind.comparisons import compare
from joshi.review.blind.judgement import SCORES, Judgement
from joshi.review.blind.repeats import repeats

from .blind_reviews import KINDS, judgement


def test_a_judgement_survives_its_json() -> None:
    one = judgement(repeat=True)
    assert Judgement.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"preferred": "left"}, "preferred"),
        ({"item": "", "conversation": "talk"}, "item"),
        ({"conversation": ""}, "conversation"),
        ({"scores": {"shipped": dict.fromkeys(SCORES, 3)}}, "scores"),
        ({"scores": {"shipped": dict.fromkeys(SCORES, 3), "baseline": {"tone": 3}}}, "scores"),
        ({"scores": dict.fromkeys(("shipped", "baseline"), dict.fromkeys(SCORES, 0))}, "scores"),
        ({"scores": dict.fromkeys(("shipped", "baseline"), dict.fromkeys(SCORES, 6))}, "scores"),
        ({"scores": dict.fromkeys(("shipped", "baseline"), dict.fromkeys(SCORES, 3.5))}, "scores"),
        ({"scores": dict.fromkeys(("shipped", "baseline", "other"), dict.fromkeys(SCORES, 3))}, "scores"),
        ({"scores": dict.fromkeys(("shipped", "baseline"), dict.fromkeys((*SCORES, "wit"), 3))}, "scores"),
        ({"mentions_internals": {"shipped": True}}, "mentions_internals"),
        ({"mentions_internals": {"shipped": True, "baseline": "maybe"}}, "mentions_internals"),
        ({"side": "left"}, "side"),
    ],
)
def test_what_is_no_judgement_is_refused(wrong: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as refused:
        judgement(**wrong)
    assert {error["loc"][0] for error in refused.value.errors()} == {where}


@settings(deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=7))
def test_a_sample_goes_to_whom_more_of_its_reviewers_prefer(said: list[str]) -> None:
    (one,) = compare(judgement(preferred=preferred, reviewer=f"r{n}") for n, preferred in enumerate(said))
    ahead = said.count("shipped") - said.count("baseline")
    assert one.sign == (ahead > 0) - (ahead < 0)
    assert one.preferred == {1: "shipped", 0: "tie", -1: "baseline"}[one.sign]
    assert one.split == (ahead == 0 and "shipped" in said)


def test_scores_are_means_and_one_reviewer_who_sees_internals_is_enough() -> None:
    first = judgement(reviewer="Ana", shipped=5, baseline=2, mentions_internals={"shipped": False, "baseline": True})
    second = judgement(reviewer="Raj", shipped=4, baseline=2)
    (one,) = compare([first, second])
    assert one.scores == {"shipped": dict.fromkeys(SCORES, 4.5), "baseline": dict.fromkeys(SCORES, 2.0)}
    assert one.mentions_internals == {"shipped": False, "baseline": True}


def test_repeats_are_no_comparisons() -> None:
    assert compare([judgement(repeat=True)]) == []
    assert len(compare([judgement(), judgement(repeat=True), judgement(repeat=True)])) == 1


def test_a_sample_judged_twice_by_one_reviewer_is_refused() -> None:
    with pytest.raises(JoshiError, match=r"'Ana' judged 'talk/1' twice, .* mark the later one as a repeat"):
        compare([judgement(), judgement(preferred="tie")])


def test_a_sample_of_two_conversations_is_refused() -> None:
    with pytest.raises(JoshiError, match="'talk/1' is said to be of conversation 'other' and of 'talk'"):
        compare([judgement(), judgement(reviewer="Raj", conversation="other")])


def test_repeats_tell_how_far_reviewers_agree_with_themselves() -> None:
    first = [judgement(f"talk/{n}", preferred) for n, preferred in enumerate(("shipped", "tie", "baseline"))]
    again = [
        judgement("talk/0", "shipped", repeat=True),
        judgement("talk/1", "baseline", repeat=True, shipped=3),  # one point lower in all scores of one answer
        judgement("talk/2", "shipped", repeat=True, baseline=5),  # two points higher, and the other way round
        judgement("talk/3", "shipped", repeat=True),  # never judged before
        judgement("talk/0", "shipped", "Raj", repeat=True),  # not by him
    ]
    found = repeats(first + again)
    assert (found["n"], found["without_first"], found["reversed"]) == (3, 2, 1)
    assert found["preferred"]["rate"] == pytest.approx(1 / 3)
    for score in SCORES:
        assert found["scores"][score]["same"]["rate"] == pytest.approx(4 / 6)
        assert found["scores"][score]["within_one"]["rate"] == pytest.approx(5 / 6)
        assert found["scores"][score]["mean_gap"] == pytest.approx(3 / 6)
    assert found["mentions_internals"]["rate"] == 1.0


def test_without_repeats_nothing_is_claimed() -> None:
    found = repeats([judgement()])
    assert found["n"] == 0
    assert (found["preferred"]["low"], found["preferred"]["high"]) == (0.0, 1.0)
    assert found["scores"]["tone"]["mean_gap"] is None
