"""What production sends back is redacted before it is stored, kept once, and deleted when a person is forgotten."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from joshi import review
from joshi.curation.fingerprints import fingerprints, load_key
from joshi.curation.pairs import make_pair
from joshi.errors import JoshiError, PlanError
from joshi.monitoring import heard, listen
from joshi.monitoring.feedback import export
from joshi.monitoring.heard import Given, Opinion
from joshi.plan import Plan
from joshi.rubric import Rubric
from joshi.workspace import Workspace, write_text

TOKEN = "a token that callers have"
SENT: dict[str, Any] = {
    "context": {
        "round": 2,
        "supplier_sentiment": "firm",
        "outstanding_asks": ["a date from Maria Lindholm"],
        "current_offer": "£12,450",
        "history": [
            {"role": "buyer", "text": "Could you look at the price again?"},
            {"role": "supplier", "text": "Maria Lindholm here. £12,450 stays, write to maria@lindholm-parts.example."},
        ],
    },
    "answer": "Maria, that is hard to hear. Could you confirm £12,450 includes freight?",
    "agent": "NegotiationAgent",
    "workflow_id": "WF-1",
    "at": "2026-01-05T10:00:00+00:00",
}


@pytest.fixture
def plan() -> Plan:
    return Plan.model_validate({"model": {"base": "builtin:smollm2"}})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_no_name_and_no_exact_price_reaches_the_disk(plan: Plan, workspace: Workspace) -> None:
    opinion = Opinion(**SENT, verdict="bad", better="Maria, thank you. Is £12,450 final?", comment="Maria would mind.")
    stored = heard.keep(opinion, "20260101-000000-00000000", plan, workspace)
    with sqlite3.connect(workspace.database) as database:
        kept = str(database.execute("SELECT * FROM heard").fetchall())
    for secret in ("Maria", "Lindholm", "lindholm", "12,450"):
        assert secret not in kept
    sample = stored.sample
    assert stored.better is not None and stored.comment is not None
    (name,) = {word.rstrip(",") for word in sample.ideal_answer.split() if word.startswith("[")}
    assert name in sample.context.history[1].text  # one placeholder for one person, in every text
    assert stored.better.startswith(name) and stored.comment.startswith(name)
    assert sample.context.current_offer is not None and sample.context.current_offer in sample.ideal_answer
    assert stored.release == "20260101-000000-00000000"


def test_what_is_sent_twice_is_kept_once_and_in_order(plan: Plan, workspace: Workspace) -> None:
    for at in ("2026-01-06T10:00:00+00:00", "2026-01-05T12:00:00+02:00", "2026-01-06T10:00:00+00:00"):
        heard.keep(Given.model_validate({**SENT, "at": at}), None, plan, workspace)
    assert [row.at[:10] for row in heard.load(workspace, "answer")] == ["2026-01-05", "2026-01-06"]
    assert heard.load(workspace, "feedback") == []


def test_a_person_who_is_forgotten_is_forgotten_here_too(plan: Plan, workspace: Workspace) -> None:
    heard.keep(Given.model_validate(SENT), None, plan, workspace)
    assert heard.forget(set(fingerprints(load_key(workspace), ["Somebody Else"])), workspace) == 0
    assert heard.forget(set(fingerprints(load_key(workspace), ["maria@lindholm-parts.example"])), workspace) == 1
    assert heard.load(workspace, "answer") == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"at": "2026-01-05 10:00"}, "no time with a zone"),
        ({"at": "yesterday"}, "no time with a zone"),
        ({"context": {**SENT["context"], "history": []}}, "supplier's message"),
    ],
)
def test_what_cannot_be_kept_is_told(change: dict[str, Any], says: str, plan: Plan, workspace: Workspace) -> None:
    with pytest.raises(JoshiError, match=says):
        heard.keep(Given.model_validate({**SENT, **change}), None, plan, workspace)
    assert heard.load(workspace, "answer") == []


def test_better_answers_wait_in_the_review_room_and_become_a_sample_and_a_pair(
    plan: Plan, workspace: Workspace, rubric: Rubric
) -> None:
    write_text(workspace.candidates, "")
    better = "Thank you for telling us so plainly. Could you confirm that £12,450 includes freight?"
    heard.keep(Opinion(**SENT, verdict="bad", better=better, comment="Too blunt."), None, plan, workspace)
    heard.keep(Opinion(**{**SENT, "workflow_id": "2"}, verdict="bad"), None, plan, workspace)
    heard.keep(Opinion(**{**SENT, "workflow_id": "3"}, verdict="good"), None, plan, workspace)
    assert export(workspace) == (1, 1)
    (bad,) = review.rewritable(workspace)
    assert (bad.reasons, bad.sample.review.status) == (["feedback"], "pending")
    (waiting,) = review.decided(workspace, plan)
    assert waiting.review.status == "pending" and waiting.ideal_answer.startswith("Thank you for telling")
    listed = workspace.root / "open.jsonl"
    assert review.export(listed, workspace) == 1
    write_text(listed, listed.read_text(encoding="utf-8").replace('"pending"', '"approved"'))
    review.take(listed, "Ana", plan, workspace)
    assert export(workspace) == (1, 1)  # a second time changes nothing
    (sample,) = review.decided(workspace, plan)
    assert (sample.review.status, sample.review.reviewer) == ("approved", "Ana")
    worse = sample.review.original or ""
    assert worse.startswith("[PERSON_")
    pair = make_pair(sample, "edited", "edit", worse, rubric.check(worse, sample), plan)
    assert pair is not None and "Too blunt." in pair.rationale


@pytest.fixture
def client(plan: Plan, workspace: Workspace) -> TestClient:
    return TestClient(listen.application(plan, workspace, TOKEN), headers={"Authorization": f"Bearer {TOKEN}"})


def test_answers_and_opinions_come_in_over_http(client: TestClient, workspace: Workspace) -> None:
    first = client.post("/answers", json=SENT)
    again = client.post("/answers", json=SENT)
    assert (first.status_code, first.json()) == (201, again.json())
    assert client.post("/feedback", json={**SENT, "verdict": "good"}).status_code == 201
    assert len(heard.load(workspace, "answer")) == len(heard.load(workspace, "feedback")) == 1


@pytest.mark.parametrize("sent", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}])
def test_without_the_token_nothing_is_taken(sent: dict[str, str], client: TestClient, workspace: Workspace) -> None:
    client.headers.pop("Authorization")
    for address in ("/answers", "/feedback"):
        assert client.post(address, json=SENT, headers=sent).status_code == 401
    assert not workspace.database.exists()


def test_a_wrong_request_is_told_without_repeating_it(client: TestClient) -> None:
    refused = client.post("/feedback", json={**SENT, "verdict": "Maria Lindholm"})
    assert refused.status_code == 422 and refused.json()["error"].startswith("verdict:")
    assert "Maria" not in refused.text
    assert client.post("/answers", content=b"{" * 100_000).status_code == 422
    assert client.post("/answers", content=b" " * (listen.MOST_BYTES + 1)).status_code == 413
    assert client.post("/answers", content=iter([b"{}"])).status_code == 413  # no length told
    empty = {"content-length": "0"}
    assert client.get("/answers", headers=empty).status_code == 405  # nothing is ever read back
    assert client.get("/docs", headers=empty).status_code == 404


@pytest.mark.parametrize("environment", [{}, {"JOSHI_FEEDBACK_TOKEN": "short"}])
def test_it_does_not_listen_without_a_good_token(environment: dict[str, str], plan: Plan, workspace: Workspace) -> None:
    with pytest.raises(PlanError, match="JOSHI_FEEDBACK_TOKEN"):
        listen.listen(plan, workspace, environment=environment)
