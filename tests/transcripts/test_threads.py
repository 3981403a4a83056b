"""Threads as plain text."""

from __future__ import annotations

import pytest

from joshi.schema import ConversationState, Participant

THREAD = """--- Prior Thread History ---
Round 1 • 2024-05-01T09:00:00Z
From Ana Sá <ana@aco.example> → pooja@buyer.example, cc@buyer.example
Subject: Bolts
<!-- RFQ-ID RFQ-77 -->
Steel is up.

We need 8%.
Round 2 • 2024-05-02
From pooja@buyer.example → ana@aco.example
Subject: Re: Bolts

Which index?
"""


def test_a_thread_is_one_conversation(read_file) -> None:
    [conversation], unread = read_file("bolts.txt", THREAD, buyer_domains=["buyer.example"])
    assert unread == []
    assert (conversation.id, conversation.source) == ("bolts", "bolts.txt")
    assert [(turn.role, turn.round, turn.at, turn.speaker, turn.text) for turn in conversation.turns] == [
        ("supplier", 1, "2024-05-01T09:00:00Z", "Ana Sá", "Steel is up.\n\nWe need 8%."),
        ("buyer", 2, "2024-05-02", "pooja@buyer.example", "Which index?"),
    ]
    assert [turn.state for turn in conversation.turns] == [None, None]
    assert conversation.participants == [
        Participant(role="supplier", person="Ana Sá", email="ana@aco.example"),
        Participant(role="buyer", email="pooja@buyer.example"),
    ]
    assert conversation.state == ConversationState(notes=None)


@pytest.mark.parametrize(
    "variant",
    [
        THREAD.replace("→", "->"),
        THREAD.replace("\n", "\r\n"),
        "\ufeff" + THREAD,
        THREAD.removeprefix("--- Prior Thread History ---\n"),
        THREAD.replace("Subject: Bolts\n", ""),
    ],
    ids=["ascii arrow", "windows line ends", "byte order mark", "no title", "no subject"],
)
def test_variants_read_alike(read_file, variant: str) -> None:
    [conversation], _ = read_file("t.txt", variant, buyer_domains=["buyer.example"])
    assert [turn.text for turn in conversation.turns] == ["Steel is up.\n\nWe need 8%.", "Which index?"]


@pytest.mark.parametrize("domains", [[], ["other.example"]])
def test_without_a_known_buyer_the_reason_says_what_to_set(read_file, domains: list[str]) -> None:
    conversations, [unread] = read_file("t.txt", THREAD, buyer_domains=domains)
    assert conversations == []
    assert (unread.kind, unread.line) == ("rejected", None)
    assert "Ana Sá, pooja@buyer.example" in unread.reason
    assert "[transcripts] buyer_domains" in unread.reason


def test_a_block_without_a_sender_is_corrupt(read_file) -> None:
    _, [unread] = read_file("t.txt", THREAD + "Round 3 • 2024-05-03\nHello", buyer_domains=["buyer.example"])
    assert unread.kind == "quarantined"
    assert unread.reason == "line 15: expected \"From <sender> → <recipients>\", found 'Hello'"


def test_text_before_the_first_round_is_corrupt(read_file) -> None:
    _, [unread] = read_file("t.txt", THREAD.replace("---\nRound", "---\nDraft\nRound"), ["buyer.example"])
    assert unread.kind == "quarantined"
    assert "line 2" in unread.reason


def test_other_plain_text_is_rejected(read_file) -> None:
    _, [unread] = read_file("t.txt", "Minutes of the meeting\nWe talked.")
    assert unread.kind == "rejected"
    assert "Round 1 • <date>" in unread.reason


def test_a_mail_of_no_known_round_or_time_is_a_turn_all_the_same(read_file) -> None:
    text = THREAD.replace("Round 1 • 2024-05-01T09:00:00Z", "Previous • Unknown time")
    [conversation], [] = read_file("bolts.txt", text, buyer_domains=["buyer.example"])
    assert [(turn.role, turn.round, turn.at) for turn in conversation.turns] == [
        ("supplier", None, None), ("buyer", 2, "2024-05-02")
    ]  # fmt: skip


def test_an_unknown_sender_is_not_taken_for_the_supplier(read_file) -> None:
    text = THREAD.replace("Ana Sá <ana@aco.example>", "Unknown sender")
    [], [unread] = read_file("bolts.txt", text, buyer_domains=["buyer.example"])
    assert (unread.kind, unread.reason) == ("rejected", "line 3: nobody knows who sent it, so not which side speaks")
