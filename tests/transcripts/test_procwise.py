"""Further shapes in which ProcWise keeps what was said."""

from __future__ import annotations

import json


def lines(*values: object) -> str:
    return "\n".join(map(json.dumps, values))


def said(conversation) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in conversation.turns]


def test_rows_of_interactions_and_responses_make_one_thread(read_file) -> None:
    rows = lines(
        {"workflow_id": "WF-1", "supplier_id": "SUP-1", "direction": "outbound", "body": "Can you hold 4%?",
         "round_number": 1, "created_at": "2026-03-01T10:00:00Z", "metadata": json.dumps({"item": "valves"})},
        {"workflow_id": "WF-1", "supplier_id": "SUP-1", "response_text": "We can do 5%.\n\n> Can you hold 4%?",
         "response_from": "Ann <ann@valves.example>", "response_date": "2026-03-02T10:00:00Z", "round_number": 1},
        {"workflow_id": "WF-1", "supplier_id": "SUP-1", "direction": "outbound", "body": "Thank you, agreed.",
         "created_at": "2026-03-03T10:00:00Z", "metadata": None},
    )  # fmt: skip
    [conversation], [] = read_file("rows.jsonl", rows)
    assert conversation.id == "WF-1:SUP-1"
    assert said(conversation) == [
        ("buyer", "Can you hold 4%?"), ("supplier", "We can do 5%."), ("buyer", "Thank you, agreed.")
    ]  # fmt: skip
    assert conversation.state.item == "valves"
    assert any(one.person == "Ann" for one in conversation.participants)


def test_metadata_that_is_no_json_is_said(read_file) -> None:
    row = {"workflow_id": "W", "direction": "inbound", "body": "x", "metadata": "{broken"}
    [], [unread] = read_file("rows.jsonl", lines(row))
    assert (unread.kind, "not JSON" in unread.reason) == ("quarantined", True)


def test_a_thread_of_typed_messages(read_file) -> None:
    thread = {
        "thread_id": "t", "workflow_id": "WF-2", "supplier_id": "SUP-2",
        "messages": [
            {"message_type": "negotiation_counter", "content": "Can you hold 4%?<!-- PROCWISE:UID=1 -->", "round": 1,
             "timestamp": "2026-03-01"},
            {"message_type": "supplier_response", "content": "We can do 5%.", "round": 1, "timestamp": 1772400000},
        ],
    }  # fmt: skip
    [conversation], [] = read_file("threads.jsonl", lines(thread))
    assert conversation.id == "WF-2:SUP-2"
    assert said(conversation) == [("buyer", "Can you hold 4%?"), ("supplier", "We can do 5%.")]


def test_questions_with_answers(read_file) -> None:
    topics = [
        {"topic": "Savings", "context_prompts": ["x"], "qas": [{"question": "How much?", "answer": "£2.8 million."}]},
        {"topic": "Empty", "qas": []},
        {"topic": "Wrong", "qas": [{"question": 3}]},
    ]
    [conversation], unread = read_file("questions.json", topics)
    assert said(conversation) == [("supplier", "How much?"), ("buyer", "£2.8 million.")]
    assert [one.kind for one in unread] == ["rejected", "quarantined"]


def test_an_agents_output_is_no_chat(read_file) -> None:
    [], [unread] = read_file("conversation-1.json", {"context": "Manifest", "response": "{}", "metadata": {}})
    assert unread.reason == "an agent's output, not a chat"
