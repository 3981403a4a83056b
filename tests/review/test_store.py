"""The log is only appended to, survives what databases meet, and takes in what an earlier Joshi wrote."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from joshi import review
from joshi.errors import JoshiError, Unavailable
from joshi.plan import Plan
from joshi.review import log, queue
from joshi.review.log import Event, Who
from joshi.review.progress import count
from joshi.review.rooms import samples
from joshi.review.store import Store, StoreFault, open_store
from joshi.schema import Sample, to_jsonl
from joshi.workspace import Workspace, sha256_text, write_text

from ..conftest import sample_of
from .conftest import START, candidates

EVENT = Event("samples", "a/1", "Ana", "decided", log.moment(START), 1, "x", body={"status": "approved"})


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM review_events",
        "UPDATE review_events SET reviewer = 'Bea'",
        "INSERT OR REPLACE INTO review_events SELECT number, at, room, item, 'Bea', login, kind, item_sha256, "
        "before_sha256, after_sha256, rubric_version, body FROM review_events",
    ],
)
def test_no_statement_changes_the_log(store: Store, statement: str) -> None:
    with store.writing() as connection:
        log.append(connection, EVENT)
    with pytest.raises(StoreFault, match="append-only"), store.writing() as connection:
        connection.execute(text(statement))
    with store.reading() as connection:
        assert [event.reviewer for event in log.of_item(connection, "samples", "a/1")] == ["Ana"]


def test_what_a_transaction_did_is_undone_with_an_error(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.writing() as connection:
        log.append(connection, EVENT)
        raise ZeroDivisionError
    with store.reading() as connection:
        assert log.of_room(connection, "samples") == {}


def test_a_locked_database_is_told_in_a_sentence(store: Store, workspace: Workspace) -> None:
    with Store(store.url, busy_seconds=0.05) as impatient:
        other = sqlite3.connect(workspace.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFault, match="locked by another program; nothing was saved"), impatient.writing():
            pass
        with impatient.reading() as connection:
            assert log.of_room(connection, "samples") == {}, "readers do not wait"
        other.close()


def test_a_full_disk_is_told_and_keeps_nothing_half(store: Store) -> None:
    with pytest.raises(StoreFault, match="the disk is full; nothing was saved"), store.writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        log.append(connection, EVENT)
        log.keep_text(connection, "samples", "a/1", "x" * 10**6)
    with store.reading() as connection:
        assert log.of_room(connection, "samples") == {}


def test_a_file_that_is_no_database_is_told(workspace: Workspace, plan: Plan) -> None:
    write_text(workspace.database, "not a database " * 100)
    with pytest.raises(StoreFault, match=r"joshi\.db cannot be used"):
        open_store(plan, workspace)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("env:JOSHI_NOWHERE", "which is not set"),
        ("mysql://somewhere/x", "expected postgresql://"),
        ("nonsense", "is no SQLAlchemy URL"),
    ],
)
def test_a_url_that_will_not_do_is_told(workspace: Workspace, url: str, said: str) -> None:
    plan = Plan.model_validate({"review": {"url": url}})
    with pytest.raises(JoshiError, match=said):
        open_store(plan, workspace, {})


def test_a_server_that_is_away_is_told_without_its_password(workspace: Workspace) -> None:
    pytest.importorskip("psycopg")
    plan = Plan.model_validate({"review": {"url": "env:REVIEWS"}})
    with pytest.raises(Unavailable) as told:
        open_store(plan, workspace, {"REVIEWS": "postgresql://joshi:hush-hush@127.0.0.1:9/none"})
    assert "hush-hush" not in str(told.value)


def test_decisions_of_an_earlier_joshi_are_read_in_once(workspace: Workspace, plan: Plan) -> None:
    first, second = candidates(2)
    lines = [decision(first, "approved", first.ideal_answer), decision(second, "rejected", second.ideal_answer)]
    write_text(review.events(workspace), to_jsonl(lines))
    assert statuses(review.decided(workspace, plan))[:3] == ["approved", "rejected", "pending"]
    before = review.events(workspace).read_text(encoding="utf-8")
    assert statuses(review.decided(workspace, plan))[:3] == ["approved", "rejected", "pending"]
    assert review.events(workspace).read_text(encoding="utf-8") == before
    out = workspace.root / "events.jsonl"
    assert review.export_events(out, plan, workspace) == 2


def test_a_text_changed_since_its_approval_is_pending_again(workspace: Workspace, plan: Plan) -> None:
    (first,) = candidates(1)
    write_text(review.events(workspace), to_jsonl([decision(first, "approved", first.ideal_answer)]))
    review.refresh(plan, workspace)
    changed = first.model_copy(update={"ideal_answer": first.ideal_answer + " Thank you."})
    assert statuses(review.apply([first, changed], workspace)) == ["approved", "pending"]


def test_forgetting_erases_texts_and_leaves_the_log(workspace: Workspace, plan: Plan) -> None:
    (first,) = candidates(1)
    write_text(review.events(workspace), to_jsonl([decision(first, "approved", "A text of somebody.")]))
    assert review.decided(workspace, plan)[0].ideal_answer == "A text of somebody."
    review.forget({first.id}, plan, workspace)
    out = workspace.root / "events.jsonl"
    assert review.export_events(out, plan, workspace) == 1
    for path in (out, workspace.decisions, review.events(workspace)):
        assert "somebody" not in path.read_text(encoding="utf-8")
    assert sha256_text("A text of somebody.") in out.read_text(encoding="utf-8")


def decision(sample: Sample, status: str, after: str) -> review.Decision:
    before = sha256_text(sample.ideal_answer)
    return review.Decision(sample_id=sample.id, reviewer="Ana", at="2026-01-01T00:00:00Z", status=status,
                           before_sha256=before, after=after)  # type: ignore[arg-type]  # fmt: skip


def statuses(samples: list[Sample]) -> list[str]:
    return [sample.review.status for sample in samples]


def test_without_decisions_no_database_is_made(tmp_path: Path, plan: Plan) -> None:
    workspace = Workspace(tmp_path)
    write_text(workspace.candidates, to_jsonl([sample_of()]))
    assert review.refresh(plan, workspace) == []
    assert not workspace.database.exists()


POSTGRESQL = os.environ.get("JOSHI_TEST_POSTGRESQL", "")  # such as postgresql://user@host/an-empty-database


@pytest.mark.skipif(not POSTGRESQL, reason="JOSHI_TEST_POSTGRESQL names no database")
@pytest.mark.parametrize(
    "statement", ["DELETE FROM review_events", "UPDATE review_events SET reviewer = 'Bea'", "TRUNCATE review_events"]
)
def test_the_same_holds_on_postgresql(workspace: Workspace, statement: str) -> None:
    plan = Plan.model_validate({"review": {"url": "env:REVIEWS", "two_person": True}})
    with open_store(plan, workspace, {"REVIEWS": POSTGRESQL}) as store:
        samples.sync(store, plan, workspace)
        ana, bea = Who("Ana", login=1), Who("Bea", login=2)
        with store.writing() as connection:
            first = queue.take_next(connection, "samples", ana, plan, START)
            second = queue.take_next(connection, "samples", bea, plan, START)
        assert first
        assert second
        assert first.key != second.key
        samples.decide(store, first.key, ana, "rejected", "x", "", first.version, plan, START)
        with pytest.raises(JoshiError, match="append-only"), store.writing() as connection:
            connection.execute(text(statement))
        with store.reading() as connection:
            assert count(connection, "samples", ana, START).undoable >= 1
        assert samples.undo(store, ana, plan, START)
