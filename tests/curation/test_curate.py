"""Mining, duplicates, and the stage as a whole: every record is accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from joshi import base, curation
from joshi.curation.dedupe import duplicates
from joshi.curation.mine import merge_runs, mine
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.schema import Conversation, Sample, State, Turn
from joshi.workspace import Workspace

PLAN = Plan.model_validate({"model": {"base": "builtin:smollm2"}})
LINE = {
    "id": "a",
    "messages": [
        {"role": "user", "content": "Steel has gone up twice and we must ask £12,450 from 14 March."},
        {
            "role": "assistant",
            "content": "Steel jumping twice is hard on a mill. £12,450 works for us. Could you confirm 14 March?",
        },
    ],
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    base.run(PLAN, workspace)
    (tmp_path / "transcripts").mkdir()
    return workspace


def turn(role: str, text: str, **state: object) -> Turn:
    return Turn(speaker=role, role=role, text=text, state=State.model_validate(state) if state else None)  # type: ignore[arg-type]


def test_every_answer_to_a_supplier_is_a_candidate_with_its_state() -> None:
    talk = Conversation(
        id="c",
        source="s",
        turns=[
            turn("buyer", "Please quote."),
            turn("supplier", "Hello"),
            turn("supplier", "£9 a unit", supplier_sentiment="warm", current_offer="£9", outstanding_asks=["date"]),
            turn("buyer", "Good. When?", brief="Ask for the date."),
            turn("supplier", "Friday, sorry it is so late."),
            turn("buyer", "Fine."),
        ],
    )
    first, second = mine(talk, 10, {"PRICE": 1})
    assert first.context.history[-1].text == "Hello\n£9 a unit"
    assert (first.context.supplier_sentiment, first.context.current_offer, first.context.round) == ("warm", "£9", 1)
    assert first.instruction.endswith("Ask for the date.")
    assert first.provenance.inferred == []
    assert second.context.supplier_sentiment == "worried"
    assert second.provenance.inferred == ["supplier_sentiment", "current_offer"]
    assert len(next(iter(mine(talk, 1, {}))).context.history) == 1


def test_merging_keeps_every_word() -> None:
    turns = [turn("buyer", "a"), turn("buyer", "b"), turn("supplier", "c")]
    assert [t.text for t in merge_runs(turns)] == ["a\nb", "c"]


def test_near_duplicates_are_found_and_the_first_stays(make_sample: Callable[..., Sample]) -> None:
    text = "Steel jumping twice in a quarter is hard on any mill and the date you name works well for us here"
    samples = [
        make_sample(text, name="a"),
        make_sample(text + " now", name="b"),
        make_sample("Something else entirely was said in this answer to the supplier", name="c"),
    ]
    assert duplicates(samples, 0.8) == {"b/1": "a/1"}
    assert duplicates(samples, 1.0) == {}


def test_counts_reconcile_and_bad_records_are_quarantined(workspace: Workspace) -> None:
    lines = [json.dumps(LINE), "{broken", json.dumps({"context": "x", "response": "y" * 600_000, "metadata": {}})]
    (workspace.root / "transcripts" / "chats.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (workspace.root / "transcripts" / "wide.txt").write_bytes("Round 1".encode("utf-16"))
    (workspace.root / "transcripts" / "nul.jsonl").write_bytes(b'{"messages": "\x00"}\n')
    (workspace.root / "transcripts" / "empty.jsonl").write_bytes(b"")
    metrics = curation.run(PLAN, workspace).metrics
    records = metrics["records"]
    assert records == {"read": 6, "kept": 1, "rejected": 1, "quarantined": 4}
    assert metrics["candidates"]["mined"] == metrics["candidates"]["kept"] + metrics["candidates"]["rejected"]
    rows = [json.loads(line) for line in workspace.quarantine.read_text(encoding="utf-8").splitlines()]
    assert {(row["source"], row["line"]) for row in rows} >= {("chats.jsonl", 2), ("chats.jsonl", 3)}
    assert len(rows) == records["rejected"] + records["quarantined"]


def test_nothing_readable_is_an_error_that_names_the_quarantine(workspace: Workspace) -> None:
    (workspace.root / "transcripts" / "chats.jsonl").write_text("{broken\n", encoding="utf-8")
    with pytest.raises(JoshiError, match=r"none of the 1 records.*quarantine\.jsonl"):
        curation.run(PLAN, workspace)


def test_missing_transcripts_name_the_key(workspace: Workspace) -> None:
    (workspace.root / "transcripts").rmdir()
    with pytest.raises(JoshiError, match=r"\[transcripts\] paths"):
        curation.run(PLAN, workspace)


def test_nothing_is_approved_unless_the_plan_says_so(workspace: Workspace) -> None:
    (workspace.root / "transcripts" / "chats.jsonl").write_text(json.dumps(LINE), encoding="utf-8")
    curation.run(PLAN, workspace)
    assert [s.review.status for s in curation.load_candidates(workspace)] == ["pending"]
    automatic = Plan.model_validate({"model": {"base": "builtin:smollm2"}, "curation": {"approve": "automatic"}})
    curation.run(automatic, workspace)
    (sample,) = curation.load_candidates(workspace)
    assert (sample.review.status, sample.review.reviewer) == ("approved", "automatic")
