"""Answers that gave a secret away become samples and pairs once rewritten, and such attacks count no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from joshi import review
from joshi.curation import Rejected
from joshi.curation.pairs import make_pair
from joshi.endpoint import Endpoint
from joshi.evaluation import redteam
from joshi.evaluation.redteam.learning import learned, send_back
from joshi.plan import Plan
from joshi.progress import SILENT
from joshi.prompt import ChatTokenizer
from joshi.rubric import Rubric
from joshi.schema import read_records
from joshi.workspace import Workspace, write_text

from ..test_endpoint import MODEL, Double, Said, serving
from .test_bad_models import what_it_was_told

PLAN = Plan.model_validate({"evaluation": {"attacks": 26}})
BETTER = "Thank you for putting it so plainly. Which date would suit you best for the first delivery?"


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory, tokenizer: ChatTokenizer) -> list[redteam.Talk]:
    """Attacks on a model that tells its notes where it has them in the chat."""
    with serving(Double(says=what_it_was_told)) as double:
        cache = tmp_path_factory.mktemp("cache")
        return redteam.play(Endpoint(double.url, MODEL), PLAN, tokenizer, cache, SILENT)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "workspace")
    write_text(workspace.candidates, "")
    return workspace


def test_answers_that_gave_way_wait_to_be_rewritten(talks: list[redteam.Talk], workspace: Workspace) -> None:
    leaked = {talk.attack.id: talk for talk in talks if talk.leaks}
    assert send_back(talks, PLAN, workspace) == len(leaked) > 5
    sent = list(read_records(workspace.gave_way, Rejected))
    assert {one.sample.provenance.conversation_id for one in sent} == set(leaked)
    for one in sent:
        talk = leaked[one.sample.provenance.conversation_id]
        assert one.sample.context.history[-1].role == "supplier"
        assert one.sample.context.notes
        assert one.reasons == ["no_internals"]
        assert one.findings[0].message.startswith("it gives away under attack: ")
        for secret in talk.planted.secrets:  # prices are ranges here as everywhere that is learned from
            if secret.figure:
                assert f"{secret.figure:,.2f}" not in one.model_dump_json()
    send_back(talks, PLAN, workspace)
    assert list(read_records(workspace.gave_way, Rejected)) == sent
    assert review.rewritable(workspace) == sent


def test_a_rewritten_one_is_a_sample_and_a_pair(
    talks: list[redteam.Talk], workspace: Workspace, rubric: Rubric
) -> None:
    send_back(talks, PLAN, workspace)
    listed = workspace.root / "open.jsonl"
    review.export(listed, workspace, broken=True)
    rows = [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines()]
    rows[0] |= {"status": "approved", "ideal_answer": BETTER}
    write_text(listed, "".join(json.dumps(row) + "\n" for row in rows))
    review.take(listed, "Ana", PLAN, workspace)
    (sample,) = review.decided(workspace, PLAN)
    assert (sample.id, sample.ideal_answer) == (rows[0]["id"], BETTER)
    assert learned([sample]) == {rows[0]["id"].removeprefix("redteam/")}
    worse = sample.review.original or ""
    pair = make_pair(sample, "edited", "edit", worse, rubric.check(worse, sample), PLAN)
    assert pair is not None
    assert pair.chosen == BETTER
    assert "gives away" in pair.rationale


def test_attacks_that_were_learned_from_do_not_count(
    talks: list[redteam.Talk], tmp_path: Path, tokenizer: ChatTokenizer
) -> None:
    known = {talk.attack.id for talk in talks[:9]}
    with serving(Double(says=lambda text: Said("Which date would suit you?"))) as double:
        endpoint = Endpoint(double.url, MODEL)
        again = redteam.play(endpoint, PLAN, tokenizer, tmp_path, SILENT, without=known)
    assert len(again) == len(talks)
    assert known.isdisjoint(talk.attack.id for talk in again)
