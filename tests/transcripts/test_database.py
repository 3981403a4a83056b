"""Rows of a database as records: real SQLite files, read through the plan as `joshi curate` does."""

from __future__ import annotations

import json
import sqlite3
import stat
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi import base, curation
from joshi.errors import JoshiError, PlanError, Unavailable
from joshi.plan import ModelSection, Plan
from joshi.plan_file import load_plan
from joshi.schema import Conversation
from joshi.transcripts import Unread, read
from joshi.transcripts.database import _line, refresh, snapshot_path
from joshi.workspace import Workspace, sha256_file

# As ProcWise makes it where it runs on SQLite.
INTERACTION = """CREATE TABLE supplier_interaction (
    id INTEGER PRIMARY KEY AUTOINCREMENT, workflow_id TEXT NOT NULL, unique_id TEXT NOT NULL, supplier_id TEXT,
    supplier_email TEXT, round_number INTEGER NOT NULL, direction TEXT NOT NULL, interaction_type TEXT NOT NULL,
    status TEXT NOT NULL, subject TEXT, body TEXT, message_id TEXT, in_reply_to TEXT DEFAULT '[]',
    reference_ids TEXT DEFAULT '[]', rfq_id TEXT, received_at TEXT, processed_at TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP, metadata TEXT DEFAULT '{}', UNIQUE (unique_id, direction))"""
SAID = [
    ("outbound", "Can you hold 4%?", "2026-03-01 10:00:00"),
    ("inbound", "We can do 5%.\n\nOn 1 March 2026, Pooja wrote:\n> Can you hold 4%?", "2026-03-02T10:00:00+00:00"),
]

ReadRows = Callable[..., tuple[list[Conversation], list[Unread]]]


def interactions(path: Path, workflows: int = 1) -> None:
    with sqlite3.connect(path) as database:
        database.execute(INTERACTION)
        for number in range(1, workflows + 1):
            for round_number, (direction, body, at) in enumerate(SAID, 1):
                database.execute(
                    "INSERT INTO supplier_interaction (workflow_id, unique_id, supplier_id, supplier_email, "
                    "round_number, direction, interaction_type, status, body, received_at, created_at, metadata) "
                    "VALUES (?, ?, 'SUP-1', 'ann@valves.example', ?, ?, 'negotiation', 'processed', ?, ?, ?, ?)",
                    (f"WF-{number}", f"U-{number}", round_number, direction, body,
                     at if direction == "inbound" else None, at, json.dumps({"item": "valves"})),
                )  # fmt: skip


def planned(*databases: dict[str, str], **transcripts: Any) -> Plan:
    return Plan.model_validate({"transcripts": {"paths": [], "databases": list(databases), **transcripts}})


def crm(query: str = "SELECT * FROM supplier_interaction ORDER BY id", url: str = "sqlite:///crm.db") -> dict[str, str]:
    return {"name": "crm", "url": url, "query": query}


def snapshot(tmp_path: Path, **changes: str) -> list[dict[str, Any]]:
    plan = planned(crm(**changes))
    workspace = Workspace(tmp_path)
    refresh(plan.transcripts.databases, workspace, {})
    return [json.loads(line) for line in snapshot_path("crm", workspace).read_text().strip("\n").split("\n")]


@pytest.fixture
def read_rows(tmp_path: Path) -> ReadRows:
    """Make a database by a script, and read what a query gives."""

    def read_query(script: str, query: str) -> tuple[list[Conversation], list[Unread]]:
        with sqlite3.connect(tmp_path / "crm.db") as database:
            database.executescript(script)
        plan = planned(crm(query))
        workspace = Workspace(tmp_path)
        refresh(plan.transcripts.databases, workspace, {})
        items = list(read(curation.sources(plan, workspace)))
        return (
            [item for item in items if isinstance(item, Conversation)],
            [item for item in items if isinstance(item, Unread)],
        )

    return read_query


def test_rows_of_interactions_become_one_conversation_for_each_workflow(tmp_path: Path) -> None:
    interactions(tmp_path / "crm.db", workflows=300)  # more than are fetched at once
    plan = planned(crm())
    workspace = Workspace(tmp_path)
    refresh(plan.transcripts.databases, workspace, {})
    conversations = list(read(curation.sources(plan, workspace)))
    assert [one.id for one in conversations if isinstance(one, Conversation)] == [
        f"WF-{number}:SUP-1" for number in range(1, 301)
    ]
    first = conversations[0]
    assert isinstance(first, Conversation)
    assert first.source == "crm.jsonl"
    assert [(turn.role, turn.round, turn.text) for turn in first.turns] == [
        ("buyer", 1, "Can you hold 4%?"), ("supplier", 2, "We can do 5%.")
    ]  # fmt: skip
    assert first.state.item == "valves"
    assert any(one.email == "ann@valves.example" for one in first.participants)


def test_a_history_in_a_column_is_read_with_the_ids_of_its_row(read_rows: ReadRows) -> None:
    history = json.dumps([
        {"email_id": "1", "body_text": "8% from May.", "sender": "ann@valves.example", "sent_at": "2026-03-01",
         "metadata": {"direction": "inbound"}},
        {"email_id": "2", "body_text": "Why 8%?", "sender": "po@buyer.example", "sent_at": "2026-03-02",
         "metadata": {"direction": "outbound"}},
    ])  # fmt: skip
    script = f"""CREATE TABLE state (workflow_id TEXT, supplier_id TEXT, email_history TEXT);
        INSERT INTO state VALUES ('WF-1', 'SUP-1', '{history}'), ('WF-2', 'SUP-1', '{history}'),
        ('WF-3', 'SUP-1', '[]'), ('WF-4', 'SUP-1', '[broken'), ('WF-5', 'SUP-1', NULL)"""
    conversations, unread = read_rows(script, "SELECT * FROM state")
    assert [one.id for one in conversations] == ["WF-1:SUP-1", "WF-2:SUP-1"]
    assert [turn.text for turn in conversations[0].turns] == ["8% from May.", "Why 8%?"]
    assert [(one.line, one.kind) for one in unread] == [(3, "rejected"), (4, "quarantined"), (5, "rejected")]


def test_chats_in_a_column_are_read_and_a_message_that_looks_like_json_stays_text(read_rows: ReadRows) -> None:
    chat = json.dumps([{"role": "supplier", "content": "8%."}, {"role": "buyer", "content": "[Why] 8%?"}])
    script = f"CREATE TABLE chats (id TEXT, messages TEXT); INSERT INTO chats VALUES ('one', '{chat}')"
    [conversation], [] = read_rows(script, "SELECT * FROM chats WHERE id LIKE 'o%' AND id <> ':x'")
    assert (conversation.id, conversation.turns[1].text) == ("one", "[Why] 8%?")


def test_bytes_that_are_no_text_quarantine_their_row_alone(read_rows: ReadRows) -> None:
    script = """CREATE TABLE mails (workflow_id TEXT, direction TEXT, body);
        INSERT INTO mails VALUES ('W', 'inbound', X'382520E282AC'), ('W', 'outbound', 'Why?'),
        ('W', 'inbound', X'C328'), ('W', 'inbound', CAST(X'FF41' AS TEXT)), ('W', 'inbound', CAST(X'4100' AS TEXT))"""
    [conversation], unread = read_rows(script, "SELECT * FROM mails")
    assert [turn.text for turn in conversation.turns] == ["8% €", "Why?"]
    assert [(one.line, one.kind) for one in unread] == [(n, "quarantined") for n in (3, 4, 5)]
    assert "not UTF-8: byte 0xc3" in unread[0].reason


cells = (
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"))
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=5))
def test_a_row_is_the_object_that_json_lines_would_hold(rows: list[tuple[Any, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with sqlite3.connect(Path(folder) / "crm.db") as database:
            database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, body, metadata_)")
            database.executemany("INSERT INTO t (body, metadata_) VALUES (?, ?)", rows)
        found = snapshot(Path(folder), query="SELECT body, metadata_ FROM t ORDER BY n")
    assert [(one["body"], one["metadata_"]) for one in found] == rows


@settings(max_examples=100, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_loses_no_digit(value: Decimal) -> None:
    found = json.loads(_line({"price": value}), parse_float=Decimal)["price"]
    assert Decimal(found) == value


def test_dates_are_iso_8601(tmp_path: Path) -> None:
    row = {
        "at": datetime(2026, 3, 1, 10, tzinfo=UTC),
        "day": date(2026, 3, 1),
        "blob": memoryview(b"x"),
        "half": ["\ud800"],
    }
    found = json.loads(_line(row))
    assert found == {"at": "2026-03-01T10:00:00+00:00", "day": "2026-03-01", "blob": "x", "half": ["\ud800"]}


def test_curation_records_the_rows_it_read_and_runs_again_only_if_they_changed(tmp_path: Path) -> None:
    interactions(tmp_path / "crm.db")
    plan, workspace = (
        planned(crm()).model_copy(update={"model": ModelSection(base="builtin:smollm2")}),
        Workspace(tmp_path),
    )
    base.run(plan, workspace)
    with sqlite3.connect(tmp_path / "crm.db") as database:  # a buyer's answer, which is what curation looks for
        database.execute(
            "INSERT INTO supplier_interaction (workflow_id, unique_id, supplier_id, round_number, direction, "
            "interaction_type, status, body, created_at) VALUES ('WF-1', 'U-9', 'SUP-1', 3, 'outbound', 'n', 's', "
            "'5% is a fair step given your costs. Could you confirm 14 March?', '2026-03-03 10:00:00')"
        )
    manifest = curation.run(plan, workspace)
    taken = snapshot_path("crm", workspace)
    assert manifest.inputs[".joshi/transcripts/crm.jsonl"] == sha256_file(taken)
    assert manifest.metrics["records"] == {"read": 1, "kept": 1, "rejected": 0, "quarantined": 0}
    taken.unlink()  # made anew from the same rows
    assert curation.STAGE.current(plan, workspace) == manifest
    with sqlite3.connect(tmp_path / "crm.db") as database:
        database.execute("UPDATE supplier_interaction SET body = 'Can you hold 3%?' WHERE round_number = 1")
    assert curation.STAGE.current(plan, workspace) is None


def test_a_snapshot_is_its_owners_and_goes_with_its_database(tmp_path: Path) -> None:
    interactions(tmp_path / "crm.db")
    snapshot(tmp_path)
    path = snapshot_path("crm", Workspace(tmp_path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    refresh([], Workspace(tmp_path), {})
    assert not path.exists()


def test_the_database_is_only_read(tmp_path: Path) -> None:
    interactions(tmp_path / "crm.db")
    before = (tmp_path / "crm.db").read_bytes()
    snapshot(tmp_path)
    assert (tmp_path / "crm.db").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name != ".joshi"] == ["crm.db"]


def test_a_url_may_come_from_the_environment(tmp_path: Path) -> None:
    interactions(tmp_path / "crm.db")
    plan = planned(crm(url="env:PROCWISE_DB"))
    workspace = Workspace(tmp_path)
    with pytest.raises(JoshiError, match=r"crm: url names the environment variable PROCWISE_DB, which is not set"):
        refresh(plan.transcripts.databases, workspace, {})
    refresh(plan.transcripts.databases, workspace, {"PROCWISE_DB": f"sqlite:///{tmp_path}/crm.db"})
    assert len(snapshot_path("crm", workspace).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"url": "sqlite:///missing.db"}, Unavailable, r"crm: the database cannot be reached \(unable to open"),
        ({"url": "sqlite:///notes.txt"}, JoshiError, r"crm: query failed \(file is not a database\)"),
        ({"url": "nosuch://host/db"}, Unavailable, "crm: the driver for nosuch is not installed"),
        ({"url": "postgresql+nosuch://host/db"}, Unavailable, r"crm: the driver for postgresql\+nosuch is not"),
        ({"url": "no url"}, JoshiError, "crm: url is no SQLAlchemy URL"),
        ({"query": "SELECT body FROM nowhere"}, JoshiError, r"crm: query failed \(no such table: nowhere\)"),
        ({"query": "SELECT * FROM supplier_interaction WHERE 0"}, JoshiError, "crm: query gives no rows"),
        ({"query": "SELECT id, id FROM supplier_interaction"}, JoshiError, "crm: query gives the column id twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_and_the_last_snapshot_stays(
    tmp_path: Path, changes: dict[str, str], kind: type[JoshiError], reason: str
) -> None:
    interactions(tmp_path / "crm.db")
    (tmp_path / "notes.txt").write_text("These are notes of a meeting and no database at all, " * 40)
    before = snapshot(tmp_path)
    with pytest.raises(JoshiError, match=reason) as told:
        snapshot(tmp_path, **changes)
    assert type(told.value) is kind
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "missing.db").exists()
    assert [path.name for path in (tmp_path / ".joshi" / "transcripts").iterdir()] == ["crm.jsonl"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joshi:hunter2@db.example/proc",
        "postgresql+psycopg://joshi:hunter2/@db.example:5432/proc",
        "postgresql://db.example/proc?user=joshi&password=hunter2",
        "mssql+pyodbc:///?odbc_connect=UID%3Djoshi%3BPWD%3Dhunter2",
    ],
)
def test_a_plan_that_holds_a_password_is_refused_without_repeating_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(PlanError, match=r"'crm' holds a password; write url = \"env:NAME\"") as told:
        load(tmp_path, f'name = "crm"\nurl = "{url}"\nquery = "SELECT 1"')
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    "query",
    ["DELETE FROM t", "SELECT 1; DROP TABLE t", "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
     "SELECT * INTO u FROM t", "", "selected", "-- SELECT\nUPDATE t SET a = 1", "SELECT '\\\\'; DELETE FROM t; --'"],
)  # fmt: skip
def test_a_query_that_does_not_only_read_is_refused(tmp_path: Path, query: str) -> None:
    with pytest.raises(PlanError, match="query"):
        load(tmp_path, f'name = "crm"\nurl = "sqlite:///crm.db"\nquery = """{query}"""')


@pytest.mark.parametrize(
    "query",
    ["select 1;", "WITH x AS (SELECT 1) SELECT * FROM x", "/* all */ SELECT 'a;b', \"update\" FROM t -- delete; them",
     "SELECT updated_at FROM t WHERE kind = 'DELETE'"],
)  # fmt: skip
def test_a_query_that_reads_is_taken(tmp_path: Path, query: str) -> None:
    plan = load(tmp_path, f"name = 'crm'\nurl = 'sqlite:///crm.db'\nquery = '''{query}'''")
    assert plan.transcripts.databases[0].query == query


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('name = "a b"\nurl = "sqlite:///x"\nquery = "SELECT 1"', "name"),
        ('name = "crm"\nquery = "SELECT 1"', "url: field required"),
        ('name = "CRM"\nurl = "sqlite:///x"\nquery = "SELECT 1"\n[[transcripts.databases]]\n'
         'name = "crm"\nurl = "sqlite:///x"\nquery = "SELECT 1"', "two databases are called 'CRM'"),
    ],
)  # fmt: skip
def test_a_database_needs_a_name_of_its_own_a_url_and_a_query(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        load(tmp_path, text)


def test_a_plan_without_any_source_is_refused() -> None:
    with pytest.raises(ValueError, match="paths is empty and no database is named"):
        planned()


def load(folder: Path, text: str) -> Plan:
    (folder / "joshi.toml").write_text(f"[[transcripts.databases]]\n{text}\n")
    return load_plan(folder / "joshi.toml", {}).plan
