"""Chats as JSON: roles, states, ids, and what is refused with which reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from joshi.schema import ConversationState, Participant, State

HELLO = [{"role": "supplier", "content": "8% from May."}, {"role": "buyer", "content": "Why 8%?"}]


def lines(*records: Any) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def test_a_full_chat_keeps_all_that_it_says(read_file) -> None:
    chat = {
        "id": "price-1",
        "messages": [
            {"role": "system", "content": "House tone."},
            {
                "role": "supplier",
                "name": "Ana",
                "content": "  Steel is up.\r\nWe need 8%. ",
                "at": "2024-05-01T09:00:00Z",
                "state": {
                    "supplier_sentiment": "worried",
                    "outstanding_asks": ["index"],
                    "current_offer": "8%",
                },
            },
            {
                "role": "buyer",
                "content": "Which index?",
                "state": {"brief": "Ask for the index", "current_offer": None},
            },
        ],
        "participants": [{"role": "supplier", "firm": "Aço Lda", "person": "Ana Sá", "phone": None}],
        "context": {"item": "bolts", "family": "price_rise", "facts": ["Net 45"], "notes": "Target 3%."},
        "created": "ignored, as every other key that a chat may have",
    }
    [conversation], unread = read_file("chats.jsonl", lines(chat))
    assert unread == []
    assert (conversation.id, conversation.source) == ("price-1", "chats.jsonl")
    assert [turn.role for turn in conversation.turns] == ["system", "supplier", "buyer"]
    supplier, buyer = conversation.turns[1:]
    assert (supplier.speaker, supplier.text, supplier.at) == (
        "Ana",
        "Steel is up.\nWe need 8%.",
        "2024-05-01T09:00:00Z",
    )
    assert supplier.state == State(
        supplier_sentiment="worried", outstanding_asks=["index"], current_offer="8%", brief=None
    )
    assert buyer.state is not None and buyer.state.brief == "Ask for the index"
    assert conversation.participants == [Participant(role="supplier", firm="Aço Lda", person="Ana Sá")]
    assert conversation.state == ConversationState(
        item="bolts", family="price_rise", facts=["Net 45"], notes="Target 3%."
    )


def test_roles_of_chat_apis_are_understood_in_any_case(read_file) -> None:
    chat = {"messages": [{"role": "User", "content": "8%."}, {"role": "ASSISTANT", "content": "Why?"}]}
    [conversation], _ = read_file("c.jsonl", lines(chat))
    assert [turn.role for turn in conversation.turns] == ["supplier", "buyer"]


def test_a_chat_without_id_is_named_after_its_line_or_place(read_file) -> None:
    chat = {"messages": HELLO}
    by_line, _ = read_file("may.jsonl", "\n" + lines(chat, {"id": 17, **chat}, {"id": " ", **chat}))
    assert [conversation.id for conversation in by_line] == ["may-2", "17", "may-4"]
    by_place, _ = read_file("june.json", [chat, chat])
    assert [conversation.id for conversation in by_place] == ["june-1", "june-2"]


def test_consecutive_turns_of_one_side_stay_apart_and_blank_messages_are_no_turns(read_file) -> None:
    chat = {"messages": [HELLO[0], HELLO[0], {"role": "user", "content": " \n"}, HELLO[1]]}
    [conversation], _ = read_file("c.jsonl", lines(chat))
    assert [turn.role for turn in conversation.turns] == ["supplier", "supplier", "buyer"]


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        ({"messages": []}, "0 messages"),
        ({"messages": HELLO[:1]}, "1 message with text"),
        ({"messages": [HELLO[0], {"role": "system", "content": "x"}]}, "1 message with text"),
        ({"messages": [HELLO[0]] * 3}, "only the supplier speaks"),
        ({"messages": [*HELLO, {"role": "tool", "content": "x"}]}, "messages[3] has the role 'tool'"),
        ({"messages": [{"type": "reply", "content": "x"}]}, "messages[1] has no role"),
        ({"context": "Manifest", "response": "{}", "metadata": {}}, "an agent's output, not a chat"),
        ({"question": "?", "answer": "!"}, "its keys: question, answer"),
        (["a", "list"], "a list where a chat was expected"),
    ],
)
def test_what_is_no_usable_chat_is_rejected(read_file, chat: Any, reason: str) -> None:
    conversations, [unread] = read_file("c.jsonl", lines({"messages": HELLO}, chat))
    assert len(conversations) == 1
    assert (unread.kind, unread.line, unread.source) == ("rejected", 2, "c.jsonl")
    assert reason in unread.reason
    assert unread.excerpt == json.dumps(chat, ensure_ascii=False)


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        ({"messages": "text"}, "messages must be a list, found text"),
        ({"messages": [*HELLO, "text"]}, "messages[3] must be an object, found text"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[1].content must be text, found a number"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[1].content must be text"),
        ({"messages": [{"role": 1, "content": "x"}]}, "messages[1].role must be text"),
        ({"messages": HELLO, "id": [1]}, "id must be text or a whole number, found a list"),
        ({"messages": HELLO, "context": "x"}, "context must be an object, found text"),
        (
            {"messages": HELLO, "context": {"fact": []}},
            "context.fact is not a known key; known keys are item",
        ),
        ({"messages": HELLO, "participants": [{"role": "boss"}]}, "participants[1].role"),
        (
            {"messages": [{**HELLO[0], "state": {"outstanding_asks": [1]}}]},
            "messages[1].state.outstanding_asks",
        ),
    ],
)
def test_a_chat_with_values_of_the_wrong_type_is_quarantined(read_file, chat: Any, reason: str) -> None:
    conversations, [unread] = read_file("c.jsonl", lines({"messages": HELLO}, chat))
    assert len(conversations) == 1
    assert (unread.kind, unread.line) == ("quarantined", 2)
    assert reason in unread.reason


def test_any_language_is_read(read_file) -> None:
    chat = {
        "messages": [
            {"role": "user", "content": "価格は5%上がります。"},
            {"role": "assistant", "content": "لماذا؟ 🙂"},
        ]
    }
    [conversation], _ = read_file("c.jsonl", lines(chat))
    assert [turn.text for turn in conversation.turns] == ["価格は5%上がります。", "لماذا؟ 🙂"]


def test_share_gpt_chats_are_read(read_file) -> None:
    chat = {
        "id": 7,
        "system": "Be brief.",
        "conversations": [
            {"from": "human", "value": "We must ask 5% more."},
            {"from": "gpt", "value": "What changed since March?"},
        ],
    }
    [conversation], _ = read_file("c.jsonl", lines(chat))
    assert conversation.id == "7"
    assert [(turn.role, turn.text) for turn in conversation.turns] == [
        ("system", "Be brief."),
        ("supplier", "We must ask 5% more."),
        ("buyer", "What changed since March?"),
    ]
    _, [unread] = read_file("d.jsonl", lines({"conversations": [{"from": "narrator", "value": "x"}]}))
    assert (unread.kind, "narrator" in unread.reason) == ("rejected", True)
