"""Further shapes in which ProcWise keeps what was said."""

from __future__ import annotations

import json

import pytest


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


def test_responses_from_the_watcher_join_the_interactions_that_they_answer(read_file) -> None:
    rows = lines(
        {"workflow_id": "WF-1", "supplier_id": "SUP-1", "direction": "outbound", "body": "Can you hold 4%?",
         "round_number": 1, "created_at": "2026-03-01T10:00:00Z"},
        {"unique_id": "U-1", "supplier_id": "SUP-1", "supplier_email": "ann@valves.example", "rfq_id": None,
         "from_address": "Ann <ann@valves.example>", "message_id": "m@x", "subject": "Re: RFQ", "round_number": 1,
         "body": "We can do 5%.\n\nOn 1 March 2026, Pooja wrote:\n> Can you hold 4%?", "body_html": None,
         "received_at": "2026-03-02T10:00:00+00:00", "in_reply_to": ["a"], "references": ["a"], "workflow_id": "WF-1",
         "raw_headers": {"From": ["Ann <ann@valves.example>"]}},
    )  # fmt: skip
    [conversation], [] = read_file("watcher.jsonl", rows)
    assert conversation.id == "WF-1:SUP-1"
    assert said(conversation) == [("buyer", "Can you hold 4%?"), ("supplier", "We can do 5%.")]
    assert any((one.person, one.email) == ("Ann", "ann@valves.example") for one in conversation.participants)


def test_responses_alone_are_no_chat(read_file) -> None:
    response = {"from_address": "ann@valves.example", "body": "We can do 5%.", "workflow_id": "WF-1"}
    [], [unread] = read_file("watcher.json", [response, {**response, "body": "Agreed?"}])
    assert (unread.kind, unread.reason) == (
        "rejected", "element 1: only the supplier speaks; a chat has a buyer and a supplier"
    )  # fmt: skip


MEMORY = [
    {"message_id": "m-1", "from_address": "buyer@acme.example", "message_body": "Need a better offer.",
     "supplier_id": "SUP-1", "negotiation_round": 1,
     "negotiation_output": {"rationale": "Ask first", "target_price": 9.5, "currency": "GBP"}},
    {"message_id": "m-2", "from_address": "sue@widgets.example", "message_body": ["Revising the price", "to 9.95."],
     "supplier_id": "SUP-1", "round": 1, "supplier_output": {"price": 9.95}},
    {"message_id": "m-3", "speaker": "Buyer", "message": {"message": "Thank you, agreed."}, "supplier_id": "SUP-1"},
    {"message_id": "m-4", "speaker": "buyer", "message_body": "Hello?", "supplier_id": "SUP-2"},
    {"message_id": "m-5", "speaker": "supplier", "summary": "Hello.", "supplier_id": "SUP-2"},
]  # fmt: skip


@pytest.mark.parametrize("form", ["lines", "array", "snapshot"])
def test_entries_of_conversation_memory_are_one_conversation_for_each_supplier(read_file, form: str) -> None:
    content = {
        "lines": lines(*MEMORY), "array": MEMORY,
        "snapshot": {"workflow_id": "WF-1", "conversation_history": MEMORY},
    }[form]  # fmt: skip
    conversations, unread = read_file("memory.json", content, buyer_domains=["acme.example"])
    assert unread == []
    workflow = "WF-1" if form == "snapshot" else "memory"
    assert [one.id for one in conversations] == [f"{workflow}:SUP-1", f"{workflow}:SUP-2"]
    assert said(conversations[0]) == [
        ("buyer", "Need a better offer."), ("supplier", "Revising the price\nto 9.95."), ("buyer", "Thank you, agreed.")
    ]  # fmt: skip
    assert [turn.round for turn in conversations[0].turns] == [1, 1, None]
    assert conversations[0].turns[0].state.brief == "Ask first"
    assert conversations[0].turns[1].state.current_offer == "9.95"
    assert conversations[0].state.notes == "Target price £9.50."


def test_an_agents_output_in_the_place_of_a_message_is_rejected_and_spares_the_rest(read_file) -> None:
    outputs = [
        {"speaker": "buyer", "message": {"strategy": "counter", "counter_price": 9}},
        {"speaker": "buyer", "message": '{"findings": []}'},
        {"speaker": "buyer", "message": 5},
        {"speaker": "buyer", "message": ["a", {"b": 1}]},
    ]
    talk = [{"speaker": "supplier", "message": "9.95."}, {"speaker": "buyer", "message": "{9} is our figure."}]
    [conversation], unread = read_file("memory.json", [*outputs, *talk])
    assert said(conversation) == [("supplier", "9.95."), ("buyer", "{9} is our figure.")]
    assert [one.kind for one in unread] == ["rejected", "rejected", "quarantined", "quarantined"]
    assert unread[0].reason == "element 1: an agent's output, not a chat"


def test_a_speaker_of_neither_side_is_told(read_file) -> None:
    talk = [{"speaker": "supplier", "message": "9.95."}, {"speaker": "NegotiationAgent", "message": "No."}]
    [], [unread] = read_file("memory.json", talk)
    assert "NegotiationAgent can be told neither as buyer nor as supplier" in unread.reason


def test_a_thread_in_redis_is_a_conversation_and_events_are_none(read_file) -> None:
    thread = [
        {"timestamp": 1772359200.5, "role": "buyer", "subject": "RFQ", "body_html": "<p>Can you hold 4%?</p>",
         "body_text": "Can you hold 4%?", "metadata": {"round": 1, "strategy": "counter", "negotiation_message": None}},
        {"type": "agent_execution", "agent": "A", "status": "ok", "summary": {}, "timestamp": 1772359201},
        {"timestamp": 1772445600.25, "role": "supplier", "subject": "Re: RFQ", "body_text": None,
         "body_html": "<p>We can do <b>5%</b>.</p>", "metadata": {"round": 2}},
        {"type": "learning_event", "timestamp": 1772445601.0, "event": {"messages": []}},
    ]  # fmt: skip
    [conversation], unread = read_file("thread.json", thread)
    assert conversation.id == "thread"
    assert said(conversation) == [("buyer", "Can you hold 4%?"), ("supplier", "We can do 5%.")]
    assert [(turn.at, turn.round) for turn in conversation.turns] == [
        ("2026-03-01T10:00:00.500000+00:00", 1), ("2026-03-02T10:00:00.250000+00:00", 2)
    ]  # fmt: skip
    assert [(one.kind, one.reason) for one in unread] == [
        ("rejected", "element 2: an event (agent_execution), not a message of a chat"),
        ("rejected", "element 4: an event (learning_event), not a message of a chat"),
    ]


def test_threads_of_redis_in_one_file_are_told_apart_by_their_keys(read_file) -> None:
    rows = [
        {"workflow_id": "WF-1", "unique_id": unique_id, "timestamp": at, "role": role, "body_text": "Words."}
        for unique_id in ("U-1", "U-2") for at, role in ((1, "buyer"), (2, "supplier"))
    ]  # fmt: skip
    conversations, [] = read_file("threads.jsonl", lines(*rows))
    assert [one.id for one in conversations] == ["WF-1:U-1", "WF-1:U-2"]


@pytest.mark.parametrize("at", [1e300, -1e300, True, []])
def test_a_time_that_is_none_is_quarantined(read_file, at: object) -> None:
    [], [unread] = read_file("thread.jsonl", lines({"timestamp": at, "role": "buyer", "body_text": "x"}))
    assert (unread.kind, "sent_at must be a date" in unread.reason) == ("quarantined", True)


def test_tables_without_messages_are_no_chat(read_file) -> None:
    thread_map = {"message_id": "m", "rfq_id": "R", "supplier_id": "S", "recipients": ["a@b.example"]}
    [], [unread] = read_file("map.jsonl", lines(thread_map))
    assert (unread.kind, "not a chat of a known shape" in unread.reason) == ("rejected", True)


FULL_THREAD = """Thread ID: t-1
Workflow ID: WF-2
Supplier ID: SUP-2
Supplier Unique ID: SUP-AB
Unique Identifier: PROC-WF-1
[Round 0] initial_email
Can you hold 4%?

Best wishes
[Round 1] supplier_response_round_1
We can do 5%."""


def test_a_thread_of_typed_messages_in_any_form(read_file) -> None:
    common = {"thread_id": "t-1", "workflow_id": "WF-2", "supplier_id": "SUP-2"}
    messages = [
        {**common, "message_type": "initial_email", "content": "Can you hold 4%?\n\nBest wishes", "round": 0},
        {**common, "message_type": "supplier_response_round_1", "content": "We can do 5%.", "round": 1},
    ]
    forms = {"a.json": {**common, "messages": messages}, "b.jsonl": lines(*messages), "c.txt": FULL_THREAD}
    for name, content in forms.items():
        [conversation], [] = read_file(name, content)
        assert conversation.id == "WF-2:SUP-2"
        assert said(conversation) == [("buyer", "Can you hold 4%?\n\nBest wishes"), ("supplier", "We can do 5%.")]
        assert [turn.round for turn in conversation.turns] == [0, 1]


def test_a_response_that_was_stored_as_json_is_the_message_in_it(read_file) -> None:
    stored = [{"message_type": "initial_email", "content": "Can you hold 4%?"}]
    stored += [{"message_type": "supplier_response_round_1", "content": json.dumps(payload)}
               for payload in ({"price": 5, "response_text": "We can do 5%."}, {"price": 5})]  # fmt: skip
    [conversation], [unread] = read_file("thread.json", {"thread_id": "t", "messages": stored})
    assert (conversation.id, said(conversation)) == (
        "t", [("buyer", "Can you hold 4%?"), ("supplier", "We can do 5%.")]
    )  # fmt: skip
    assert unread.reason == "entry 3: an agent's output, not a chat"


@pytest.mark.parametrize("text", ["Thread ID: t\nWorkflow ID: w", "Thread ID:", "[Round 1] supplier_response"])
def test_a_typed_thread_that_says_nothing_is_rejected(read_file, text: str) -> None:
    [], [unread] = read_file("t.txt", text)
    assert unread.kind == "rejected"


def test_histories_that_name_no_workflow_keep_apart(read_file) -> None:
    talk = [{"speaker": "supplier", "message": "9.95."}, {"speaker": "buyer", "message": "No."}]
    conversations, [] = read_file("h.jsonl", lines(*[{"conversation_history": talk}] * 2))
    assert [one.id for one in conversations] == ["h-1", "h-2"]
