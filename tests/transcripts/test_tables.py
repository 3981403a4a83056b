"""CSV: a turn a row."""

from __future__ import annotations

import pytest

TABLE = """conversation_id,speaker,role,text,timestamp
c1,Ann,supplier,"We must ask 5% more,
from May.",2026-03-03
c1,Bo,buyer,=WHAT(changed),2026-03-04

c2,Cy,user,Hello,
c2,Bo,assistant,Hello.,
"""


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_rows_become_conversations(read_file, delimiter: str, start: str) -> None:
    text = start + TABLE.replace("more,\n", "more\n").replace(",", delimiter)
    [one, two], [] = read_file("chats.csv", text)
    assert [(turn.role, turn.speaker, turn.text, turn.at) for turn in one.turns] == [
        ("supplier", "Ann", "We must ask 5% more\nfrom May.", "2026-03-03"),
        ("buyer", "Bo", "=WHAT(changed)", "2026-03-04"),  # a formula is text to us
    ]
    assert (one.id, two.id, [turn.role for turn in two.turns]) == ("c1", "c2", ["supplier", "buyer"])


def test_rows_that_stand_apart_are_a_second_conversation_of_one_id(read_file) -> None:
    conversations, unread = read_file("chats.csv", TABLE + "c1,Ann,supplier,More,\nc1,Bo,buyer,Less,\n")
    assert [c.id for c in conversations] == ["c1", "c2"]
    assert [(u.line, "already that of chats.csv:2" in u.reason) for u in unread] == [(8, True)]


@pytest.mark.parametrize(
    ("content", "kind", "reason", "read"),
    [
        ("a,b\n1,2\n", "rejected", "without a column for conversation_id and role and content", 0),
        ("id_of_it,role,text\n", "rejected", "without a column for conversation_id", 0),
        (TABLE + ",Ann,supplier,lost,\n", "rejected", "a row without a conversation's id", 2),
        (TABLE + "c3,Ann,boss,x,\n", "rejected", "the role 'boss'", 2),
        (TABLE.encode() + b"c3,Ann,supplier,\xff\xfe,\n", "quarantined", "no table from here on", None),
        (TABLE + "c3,Ann,supplier,a\0b,\n", "quarantined", "NUL", None),
    ],
)
def test_what_is_no_table_of_turns_is_said(
    read_file, content: str | bytes, kind: str, reason: str, read: int | None
) -> None:
    conversations, unread = read_file("chats.csv", content)
    assert unread[-1].kind == kind
    assert reason in unread[-1].reason
    assert read is None or len(conversations) == read
