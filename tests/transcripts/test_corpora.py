"""CaSiNo and CraigslistBargain: small files of their shapes; the real ones if JOSHI_CORPORA is set."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from joshi.schema import Conversation
from joshi.transcripts import Unread, read


def casino(number: Any = 7, *texts: str) -> dict[str, Any]:
    logs = texts or ("Hi!", "Hello, I need water.", "Submit-Deal", "Reject-Deal", "Take 2.", "Walk-Away")
    return {
        "dialogue_id": number,
        "chat_logs": [
            {"text": text, "task_data": {}, "id": f"mturk_agent_{1 + place % 2}"} for place, text in enumerate(logs)
        ],
        "participant_info": {"mturk_agent_1": {}, "mturk_agent_2": {}},
    }


def craigslist(uuid: str = "C_1", buyer_first: bool = True, target: Any = 243) -> dict[str, Any]:
    item = {"Title": "GoPro Hero4", "Price": 265}
    sides = [
        {"personal": {"Role": "buyer", "Target": target}, "item": item},
        {"personal": {"Role": "seller", "Target": 265}, "item": item},
    ]
    said = [
        (0, "message", "Is it new?"),
        (1, "message", "Nearly. "),
        (1, "offer", {"price": 250}),
        (0, "quit", None),
    ]
    return {
        "uuid": uuid,
        "scenario": {"kbs": sides if buyer_first else sides[::-1]},
        "events": [
            {
                "agent": agent if buyer_first else 1 - agent,
                "action": action,
                "data": data,
                "time": "1496341531.17",
            }
            for agent, action, data in said
        ],
    }


def test_casino_has_two_sides_and_no_deal_buttons(read_file) -> None:
    [conversation], unread = read_file("casino.json", [casino()])
    assert unread == []
    assert conversation.id == "casino-7"
    assert [(turn.role, turn.text) for turn in conversation.turns] == [
        ("buyer", "Hi!"),
        ("supplier", "Hello, I need water."),
        ("buyer", "Take 2."),
    ]
    assert conversation.state.item == "campsite supplies (food, water, firewood)"


@pytest.mark.parametrize("buyer_first", [True, False])
def test_craigslist_roles_come_from_the_scenario(read_file, buyer_first: bool) -> None:
    [conversation], unread = read_file("dev.json", [craigslist(buyer_first=buyer_first)])
    assert unread == []
    assert conversation.id == "C_1"
    assert [(turn.role, turn.text) for turn in conversation.turns] == [
        ("buyer", "Is it new?"),
        ("supplier", "Nearly."),
    ]
    assert (conversation.state.item, conversation.state.notes) == ("GoPro Hero4", "Target price $243.")


def test_each_element_is_a_record_with_its_own_verdict(read_file) -> None:
    stranger = casino(2)
    stranger["chat_logs"][0]["id"] = "mturk_agent_3"
    unknown_agent = craigslist("C_2")
    unknown_agent["events"][0]["agent"] = 2
    no_roles = craigslist("C_3")
    no_roles["scenario"]["kbs"][0]["personal"]["Role"] = "seller"
    records = [
        casino(1),
        stranger,
        casino(3, "Hi!", "Submit-Deal"),
        {"dialogue_id": 4, "chat_logs": {}},
        unknown_agent,
        no_roles,
        craigslist("C_4", target=[]),
        craigslist("C_5", target=None),
    ]
    conversations, unread = read_file("mixed.json", records)
    assert [conversation.id for conversation in conversations] == ["casino-1", "C_5"]
    assert [(one.reason.partition(":")[0], one.kind) for one in unread] == [
        ("element 2", "rejected"),
        ("element 3", "rejected"),
        ("element 4", "quarantined"),
        ("element 5", "quarantined"),
        ("element 6", "rejected"),
        ("element 7", "quarantined"),
    ]
    assert all(one.line is None and one.source == "mixed.json" for one in unread)
    assert conversations[1].state.notes is None


@pytest.mark.skipif(not os.environ.get("JOSHI_CORPORA"), reason="JOSHI_CORPORA names no folder of the corpora")
@pytest.mark.parametrize("name", ["casino", "craigslistbargain"])
def test_the_real_corpora_are_read_whole(name: str) -> None:
    folder = Path(os.environ["JOSHI_CORPORA"]) / name
    records = {path.name: len(json.loads(path.read_bytes())) for path in sorted(folder.glob("*.json"))}
    items = list(read([folder]))
    assert records and Counter(item.source for item in items) == records
    unread = [item for item in items if isinstance(item, Unread)]
    conversations = [item for item in items if isinstance(item, Conversation)]
    # People who left without a word are all that is lost.
    assert {item.kind for item in unread} <= {"rejected"}
    assert all("message" in item.reason or "only the" in item.reason for item in unread)
    assert len(conversations) > 0.9 * len(items)
    assert not any("Submit-Deal" in turn.text for one in conversations for turn in one.turns)
