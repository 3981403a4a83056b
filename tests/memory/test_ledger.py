"""The ledger keeps what it was given, once, and lets nobody change it."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joshi.errors import JoshiError
from joshi.memory import ledger as ledger_module
from joshi.memory.ledger import Ledger

AT = "2026-03-01T09:00:00+00:00"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".joshi" / "joshi.db"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=st.dictionaries(st.text(), json_values, max_size=4))
def test_what_was_appended_is_read_back(path: Path, payload: dict[str, object]) -> None:
    with Ledger(path) as ledger:
        entry = ledger.append("note", payload)
        assert entry in ledger.entries("note")


def test_the_same_record_again_adds_nothing(path: Path) -> None:
    with Ledger(path) as ledger:
        first = ledger.append("dataset", {"name": "d", "version": 1}, AT)
        # The same moment written otherwise, the same fields in another order.
        again = ledger.append("dataset", {"version": 1, "name": "d"}, "2026-03-01T10:00:00+01:00")
        later = ledger.append("dataset", {"name": "d", "version": 1}, "2026-03-01T09:00:01+00:00")
        assert first.id == again.id != later.id
        assert [entry.id for entry in ledger.entries()] == [first.id, later.id]


def test_entries_are_in_order_of_time_and_survive_reopening(path: Path) -> None:
    with Ledger(path) as ledger:
        for second in (3, 1, 2):
            ledger.append("note", {"n": second}, f"2026-03-01T09:00:0{second}+00:00")
    with Ledger(path) as ledger:
        assert [entry.payload["n"] for entry in ledger.entries()] == [1, 2, 3]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger",
        "UPDATE ledger SET payload = '{}'",
        "UPDATE ledger SET created_at = '2020-01-01T00:00:00+00:00'",
        "UPDATE OR REPLACE ledger SET id = 'x'",
    ],
)
def test_no_program_can_change_or_delete_an_entry(path: Path, statement: str) -> None:
    with Ledger(path) as ledger:
        before = [ledger.append("note", {"n": 1}, AT)]
        with sqlite3.connect(path) as other, pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
        assert ledger.entries() == before


def test_replacing_an_entry_changes_nothing(path: Path) -> None:
    with Ledger(path) as ledger:
        entry = ledger.append("note", {"n": 1}, AT)
        with sqlite3.connect(path) as other:
            other.execute("INSERT OR REPLACE INTO ledger VALUES (?, 'note', '{\"n\":2}', ?, NULL)", (entry.id, AT))
        assert ledger.entries() == [entry]


def test_only_the_mirror_mark_may_change(path: Path) -> None:
    with Ledger(path) as ledger:
        entry = ledger.append("note", {"n": 1}, AT)
        ledger.mark_mirrored([entry.id])
        (marked,) = ledger.entries()
        assert marked.mirrored_at is not None
        assert marked.id == entry.id


def test_an_entry_forged_past_the_triggers_is_found(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.append("deploy", {"release": "a"}, AT)
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER ledger_no_update")
        other.execute('UPDATE ledger SET payload = \'{"release":"b"}\'')
    with Ledger(path) as ledger, pytest.raises(JoshiError, match="was changed after it was written"):
        ledger.entries()


def test_a_locked_database_is_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "BUSY_SECONDS", 0.05)
    with Ledger(path) as ledger:
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(JoshiError, match="locked by another program"):
                ledger.append("note", {"n": 1})
        finally:
            writer.close()
        assert ledger.append("note", {"n": 1}).kind == "note"


@pytest.mark.parametrize("content", [b"no database at all, only words " * 200, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_damaged_database_is_one_sentence(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(JoshiError, match=r"joshi\.db cannot be used"):
        Ledger(path)


def test_a_table_damaged_in_the_middle_is_one_sentence(path: Path) -> None:
    with Ledger(path) as ledger:
        for n in range(200):
            ledger.append("note", {"n": n, "text": "x" * 200})
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xaa" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(JoshiError, match="cannot be used"), Ledger(path) as ledger:
        ledger.entries()
