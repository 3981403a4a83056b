"""ProcWise e-mail histories: grouping, order, roles, states, notes, participants, hidden markers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from joshi.schema import Participant, State


def inbound(**changes: Any) -> dict[str, Any]:
    entry = {
        "email_id": "e1",
        "round_number": 1,
        "supplier_id": "SUP-9",
        "supplier_name": "Kaveri Threadworks",
        "subject": "Bolts",
        "body_text": "We need £12,450.\n<!-- PROCWISE_MARKER:workflow:WF-1|token:x -->\nRaghav",
        "body_html": None,
        "sender": "Raghav S <raghav@kaveri.example>",
        "recipients": ["pooja@buyer.example"],
        "sent_at": "2024-05-01T10:00:00+02:00",
        "thread_headers": {"thread_id": "T-1"},
        "metadata": {"workflow_id": "WF-1", "direction": "inbound", "supplier_phone": "+91 422 000 0148"},
        "decision": {},
        "negotiation_context": {"current_offer": 12450, "currency": "GBP", "supplier_sentiment": "worried"},
    }
    return {**entry, **changes}


def outbound(**changes: Any) -> dict[str, Any]:
    entry = {
        "email_id": "e2",
        "round_number": 2,
        "supplier_id": "SUP-9",
        "body_text": "Which part is wire rod?",
        "sender": "pooja@buyer.example",
        "sent_at": "2024-05-01T09:30:00Z",
        "metadata": {"workflow_id": "WF-1", "direction": "outbound", "buyer_contact": "Pooja D"},
        "decision": {"rationale": "Ask for the share of wire rod", "counter_price": 11900},
    }
    return {**entry, **changes}


@pytest.mark.parametrize("form", ["array", "object", "lines", "one line"])
def test_every_form_of_a_history_gives_the_same_conversation(read_file, form: str) -> None:
    entries = [inbound(), outbound()]
    content: Any = {
        "array": entries,
        "object": {"email_history": entries},
        "lines": "\n".join(json.dumps(entry) for entry in entries),
        "one line": json.dumps({"workflow_id": "WF-1", "email_history": entries}),
    }[form]
    [conversation], unread = read_file("history.json", content)
    assert unread == []
    assert conversation.id == "WF-1:SUP-9"
    assert [(turn.role, turn.round, turn.text) for turn in conversation.turns] == [
        ("supplier", 1, "We need £12,450.\n\nRaghav"),
        ("buyer", 2, "Which part is wire rod?"),
    ]
    assert conversation.turns[0].state == State(supplier_sentiment="worried", current_offer="£12,450", brief=None)
    assert conversation.turns[1].state == State(brief="Ask for the share of wire rod")
    assert conversation.participants == [
        Participant(
            role="supplier",
            firm="Kaveri Threadworks",
            person="Raghav S",
            email="raghav@kaveri.example",
            phone="+91 422 000 0148",
        ),
        Participant(role="buyer", person="Pooja D", email="pooja@buyer.example"),
    ]


def test_entries_are_grouped_by_thread_and_supplier_and_ordered_by_date_across_time_zones(read_file) -> None:
    early, late = "2024-05-01T10:00:00+02:00", "2024-05-01T08:30:00Z"  # 8:00 and 8:30 in UTC
    no_workflow = {"direction": "inbound"}
    entries = [
        outbound(sent_at=late),
        inbound(supplier_id="SUP-2", metadata=no_workflow, thread_headers={"thread_id": "T-7"}),
        inbound(sent_at=early),
        outbound(supplier_id="SUP-2", metadata={"direction": "outbound"}, thread_headers={"thread_id": "T-7"}),
        inbound(supplier_id="SUP-3", metadata=no_workflow, thread_headers=None),
        outbound(supplier_id="SUP-3", metadata={"direction": "outbound"}),
    ]
    conversations, unread = read_file("h.jsonl", "\n".join(json.dumps(entry) for entry in entries))
    assert unread == []
    assert [conversation.id for conversation in conversations] == ["WF-1:SUP-9", "T-7:SUP-2", "h:SUP-3"]
    assert [turn.role for turn in conversations[0].turns] == ["supplier", "buyer"]


def test_a_date_that_is_missing_leaves_the_order_of_the_source(read_file) -> None:
    entries = [outbound(sent_at="2024-05-02"), inbound(sent_at=None), outbound(sent_at="2024-05-01")]
    [conversation], _ = read_file("h.json", entries)
    assert [turn.at for turn in conversation.turns] == ["2024-05-02", None, "2024-05-01"]


def test_without_a_direction_the_sender_tells_the_role(read_file) -> None:
    mails = [
        inbound(metadata={"workflow_id": "WF-1", "supplier_email": "Raghav@Kaveri.example"}),
        outbound(metadata={"workflow_id": "WF-1"}, sender="Pooja <pooja@uk.buyer.example>"),
    ]
    [conversation], _ = read_file("h.json", mails, buyer_domains=["@Buyer.example"])
    assert [turn.role for turn in conversation.turns] == ["supplier", "buyer"]
    none, [unread] = read_file("h2.json", mails, buyer_domains=["yer.example"])
    assert none == []
    assert unread.kind == "rejected"
    assert "Pooja can be told neither as buyer nor as supplier" in unread.reason
    assert "[transcripts] buyer_domains" in unread.reason


def test_prices_and_notes_of_all_mails_become_the_notes(read_file) -> None:
    prices = {"target_price": 11900, "walkaway_price": "12600.00", "currency": "GBP"}
    entries = [
        inbound(negotiation_context={**prices, "notes": "Policy PP-114.", "item": "bolts", "facts": ["Net 45"]}),
        outbound(negotiation_context={**prices, "facts": ["Net 45", "24,000 a year"]}),
        inbound(negotiation_context={"market_floor_price": 8.5, "currency": "CHF"}),
    ]
    entries[0]["metadata"]["family"] = "price_rise"
    [conversation], _ = read_file("h.json", entries)
    assert conversation.state.notes == (
        "Policy PP-114. Target price £11,900; walk-away price £12,600. Market floor price CHF 8.50."
    )
    assert conversation.state.item == "bolts"
    assert conversation.state.family == "price_rise"
    assert conversation.state.facts == ["Net 45", "24,000 a year"]


@pytest.mark.parametrize(
    ("offer", "currency", "shown"),
    [
        (12450, None, "12,450"),
        (12450.0, "£", "£12,450"),
        (8.9, "EUR", "€8.90"),
        (0.0042, "USD", "$0.0042"),
        (1250, "CHF", "CHF 1,250"),
        ("€ 12.450,00 incl. freight", "EUR", "€ 12.450,00 incl. freight"),
        (-3, "GBP", "-£3"),
    ],
)
def test_the_offer_is_said_with_its_currency(read_file, offer: Any, currency: Any, shown: str) -> None:
    entry = inbound(negotiation_context={"current_offer": offer, "currency": currency})
    [conversation], _ = read_file("h.json", [entry, outbound(sent_at="2025-01-01")])
    assert conversation.turns[0].state is not None
    assert conversation.turns[0].state.current_offer == shown


def test_every_sender_is_a_participant_so_that_each_name_can_be_redacted(read_file) -> None:
    entries = [
        inbound(metadata={"direction": "inbound", "workflow_id": "WF-1", "supplier_contact": "Meera Rao"}),
        outbound(),
        inbound(sender="Anil K <anil@kaveri.example>", sent_at="2024-05-03"),
    ]
    [conversation], _ = read_file("h.json", entries)
    people = [one for one in conversation.participants if one.role == "supplier"]
    assert {one.person for one in people} >= {"Meera Rao", "Raghav S", "Anil K"}
    assert {one.email for one in people} >= {"raghav@kaveri.example", "anil@kaveri.example"}


def test_an_html_body_stands_in_for_a_missing_text(read_file) -> None:
    entry = inbound(body_text=" <!-- PROCWISE:UID=PROC-WF-1 --> ", body_html="<p>We need <b>8%</b></p>")
    [conversation], _ = read_file("h.json", [entry, outbound(sent_at="2025-01-01")])
    assert conversation.turns[0].text == "We need 8%"


def test_a_rationale_that_is_no_text_is_no_brief(read_file) -> None:
    [conversation], _ = read_file("h.json", [inbound(sent_at="2024-01-01"), outbound(decision={"rationale": {}})])
    assert conversation.turns[1].state is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sender": 5}, "sender must be text, found a number"),
        ({"body_text": "8%\0"}, "a NUL character"),
        ({"metadata": []}, "metadata must be an object, found a list"),
        ({"round_number": "two"}, "round_number must be a whole number"),
        ({"negotiation_context": {"outstanding_asks": "x"}}, "outstanding_asks must be a list"),
        ({"negotiation_context": {"target_price": True}}, "target_price must be a number or text"),
    ],
)
def test_a_corrupt_entry_is_one_record_and_spares_its_thread(read_file, change: Any, reason: str) -> None:
    entries = [inbound(), inbound(**change), outbound()]
    [conversation], [unread] = read_file("h.jsonl", "\n".join(json.dumps(entry) for entry in entries))
    assert len(conversation.turns) == 2
    assert (unread.kind, unread.line) == ("quarantined", 2)
    assert reason in unread.reason
    [_], [element] = read_file("h.json", entries)
    assert element.reason.startswith("element 2: ")
    [_], [entry] = read_file("o.json", {"email_history": entries})
    assert entry.reason.startswith("entry 2: ")


def test_a_history_that_is_no_list_or_empty_is_told(read_file) -> None:
    assert read_file("a.json", {"email_history": 5})[1][0].kind == "quarantined"
    assert read_file("b.json", {"email_history": []})[1][0].reason == "an empty e-mail history"
    assert read_file("c.json", {"email_history": ["x"]})[1][0].kind == "quarantined"


def test_a_thread_that_is_too_large_is_set_aside(read_file) -> None:
    words = "x" * 2**20
    lines = [json.dumps(mail(body_text=words)) for mail in (inbound, outbound) * 9]
    [_], [unread] = read_file(
        "h.jsonl",
        "\n".join([*lines, json.dumps(inbound(supplier_id="S")), json.dumps(outbound(supplier_id="S"))]),
    )
    assert (unread.kind, unread.line) == ("quarantined", 1)
    assert "the thread is over 16 MB" in unread.reason
