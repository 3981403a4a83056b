"""What breaks a rule may be rewritten: the new text is learned from, the old one is what not to say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joshi import datasets, review
from joshi.curation import Rejected, judge
from joshi.curation.dedupe import duplicates
from joshi.curation.pairs import UNLIKE, balanced, make_pair
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer
from joshi.rubric import Rubric
from joshi.schema import Preference, Sample, to_jsonl
from joshi.workspace import Workspace, write_text

PLAN = Plan.model_validate({"curation": {"sft_samples": [2, 12]}})
ROBOTIC = "Dear Sir or Madam, per our internal policy PROC-7 the request is escalated. Yours faithfully"
GOOD = (
    "Steel jumping twice is hard to absorb. Could you confirm the 14 March date?",
    "One rise of steel is bad, two are worse. Could you hold the price until 14 March?",
    "That is a rough spring for anybody who buys steel. Please send the new price list before 14 March.",
    "I can see why steel worries you and [PERSON_1]. Would you keep today's price until 14 March?",
)
REWRITTEN = "Two steel rises are hard to absorb. Could you hold [PERSON_1]'s date of 14 March?"
Make = Callable[..., Sample]


@pytest.fixture
def workspace(tmp_path: Path, make_sample: Make, rubric: Rubric) -> Workspace:
    """Four conversations whose answers follow the rules, one robotic answer, and one that repeats another."""
    made = Workspace(tmp_path)
    good = [
        make_sample(
            answer, name=f"c{i}", message="Steel went up twice, [PERSON_1] says, and we ask more from 14 March."
        )
        for i, answer in enumerate(GOOD)
    ]
    found = [*good, make_sample(ROBOTIC, name="robotic"), good[0].model_copy(update={"id": "again/1"})]
    judged = list(judge(found, duplicates(found, 0.8), rubric, PLAN))
    kept, rejected = [[one for one in judged if isinstance(one, kind)] for kind in (Sample, Rejected)]
    assert len(kept) == 4
    write_text(made.candidates, to_jsonl(kept))
    write_text(made.rejected, to_jsonl(rejected))
    return made


def exported(workspace: Workspace) -> list[dict[str, Any]]:
    file = workspace.root / "open.jsonl"
    review.export(file, workspace, broken=True)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def imported(workspace: Workspace, rows: list[dict[str, Any]]) -> dict[str, int]:
    file = workspace.root / "open.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return review.take(file, "Ana", PLAN, workspace)


def test_a_rewritten_answer_is_frozen_with_what_it_was(workspace: Workspace, rubric: Rubric) -> None:
    rows = exported(workspace)
    assert [row["id"] for row in rows][4:] == ["robotic/1"], "what repeats another is not offered"
    assert any(line.startswith("no_boilerplate: ") for line in rows[4]["breaks"])
    for row in rows:
        row["status"] = "approved"
    rows[4]["ideal_answer"] = REWRITTEN
    assert imported(workspace, rows)["approved"] == 5
    assert not exported(workspace)
    assert datasets.run(PLAN, workspace).metrics["sft"] == 5
    sample = next(s for s in datasets.load_split(PLAN, workspace) if s.id == "robotic/1")
    assert sample.review.original == ROBOTIC
    assert sample.ideal_answer.startswith("Two steel rises")
    assert not datasets.verify(PLAN, workspace, 1)
    findings = rubric.check(ROBOTIC, sample)
    pair = make_pair(sample, "edited", "edit", ROBOTIC, findings, PLAN)
    assert pair is not None
    assert (pair.origin, pair.rejected, pair.chosen) == ("edited", ROBOTIC, sample.ideal_answer)
    assert "reviewer rewrote breaks" in pair.rationale
    assert "no_boilerplate" in pair.failure_modes
    assert make_pair(sample, "edited", "edit", REWRITTEN, [], PLAN) is None, "it breaks no rule"


def test_a_broken_answer_is_not_approved_as_it_stands(workspace: Workspace) -> None:
    rows = exported(workspace)
    rows[4]["status"] = "approved"
    with pytest.raises(JoshiError, match=r"open\.jsonl:5: approved as it stands, but it breaks .*no_boilerplate"):
        imported(workspace, rows)
    rows[4]["status"] = "rejected"
    assert imported(workspace, rows) == {"approved": 0, "rejected": 1, "pending": 4}


@pytest.mark.parametrize(
    ("typed", "kind"),
    [
        ("Steel is hard on you. Could Ana write to ana.silva@delta.example today?", "email"),
        ("Steel is hard on you. Could you hold £12,450 until 14 March?", "price"),
        ("Steel is hard on you. Could you call +44 20 7946 0958 today?", "phone"),
    ],
)
def test_what_a_reviewer_types_in_clear_is_refused(workspace: Workspace, typed: str, kind: str) -> None:
    rows = exported(workspace)
    rows[0] |= {"status": "approved", "ideal_answer": typed}
    with pytest.raises(JoshiError, match=rf"open\.jsonl:1: the rewritten ideal_answer .*{kind}.* in clear"):
        imported(workspace, rows)
    assert all(row["status"] == "pending" for row in exported(workspace))


def test_an_approval_without_text_is_refused(workspace: Workspace) -> None:
    rows = exported(workspace)
    rows[0] |= {"status": "approved", "ideal_answer": " "}
    with pytest.raises(JoshiError, match="empty ideal_answer"):
        imported(workspace, rows)


def pair_of(name: int, chosen: int, rejected: int) -> Preference:
    return Preference(id=f"{name}", sample_id=f"{name}", prompt=[], chosen=" word" * chosen, rationale="",
                      rejected=" word" * rejected, failure_modes=["length"], origin="sampled")  # fmt: skip


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 240)), max_size=30), st.integers(1, 12))
def test_balanced_pairs_are_as_long_on_both_sides_or_the_fewest(
    tokenizer: ChatTokenizer, lengths: list[tuple[int, int]], fewest: int
) -> None:
    pairs = [pair_of(i, *both) for i, both in enumerate(lengths)]
    kept = balanced(pairs, tokenizer, fewest)
    assert [pair for pair in pairs if pair in kept] == kept
    chosen = sum(tokenizer.count(pair.chosen) for pair in kept)
    rejected = sum(tokenizer.count(pair.rejected) for pair in kept)
    assert abs(rejected - chosen) <= UNLIKE * chosen or len(kept) == min(fewest, len(pairs))
