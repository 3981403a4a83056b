"""Two public corpora of negotiation dialogues: CaSiNo and CraigslistBargain, one dialogue an object."""

from __future__ import annotations

from typing import Any, Literal

from joshi.schema import Conversation, ConversationState, Turn
from joshi.transcripts.amounts import money
from joshi.transcripts.bodies import tidy
from joshi.transcripts.fields import Fields
from joshi.transcripts.unread import printable, quarantined, rejected

Role = Literal["buyer", "supplier"]

# CaSiNo's two sides want the same goods; calling the first one the buyer is a convention.
_CASINO_ROLES: dict[str, Role] = {"mturk_agent_1": "buyer", "mturk_agent_2": "supplier"}
_CASINO_ACTIONS = ("Submit-Deal", "Accept-Deal", "Reject-Deal", "Walk-Away")
_CASINO_ITEM = "campsite supplies (food, water, firewood)"

_CRAIGSLIST_ROLES: dict[str | None, Role] = {"buyer": "buyer", "seller": "supplier"}


def read_casino(value: dict[str, Any], default_id: str, source: str) -> Conversation:
    """One dialogue without its deal buttons.

    Raises:
        Refused: rejected for an agent who is neither of the two; quarantined for a value of the wrong type.
    """
    dialogue = Fields(value)
    number = dialogue.identifier("dialogue_id")
    turns = []
    for log in dialogue.rows("chat_logs"):
        agent = log.text("id")
        if agent is None or agent not in _CASINO_ROLES:
            raise rejected(
                f"{log.path}.id is {printable(agent or 'missing', 30)}; expected {' or '.join(_CASINO_ROLES)}"
            )
        text = tidy(log.text("text") or "")
        if text and text not in _CASINO_ACTIONS:
            turns.append(Turn(speaker=_CASINO_ROLES[agent], role=_CASINO_ROLES[agent], text=text))
    return Conversation(
        id=f"casino-{number}" if number else default_id,
        source=source,
        turns=turns,
        state=ConversationState(item=_CASINO_ITEM, notes=None),
    )


def read_craigslist(value: dict[str, Any], default_id: str, source: str) -> Conversation:
    """One dialogue; the buyer's secret target price, in dollars, becomes the notes.

    Raises:
        Refused: rejected if the scenario does not say who buys; quarantined for a value of the wrong type.
    """
    dialogue = Fields(value)
    sides = dialogue.inner("scenario").rows("kbs")
    roles = [_CRAIGSLIST_ROLES.get(side.inner("personal").text("Role")) for side in sides]
    if "buyer" not in roles or "supplier" not in roles:
        raise rejected("scenario.kbs does not name one buyer and one seller in personal.Role")
    buyer = sides[roles.index("buyer")]
    target = buyer.inner("personal").amount("Target")
    turns = []
    for event in dialogue.rows("events"):
        if event.text("action") != "message":
            continue
        agent = event.whole("agent")
        if agent is None or not 0 <= agent < len(roles):
            raise quarantined(f"{event.path}.agent must be a place in scenario.kbs (0 to {len(roles) - 1})")
        role = roles[agent]
        if role is None:
            raise rejected(f"{event.path}: agent {agent} is neither buyer nor seller in scenario.kbs")
        text = tidy(event.text("data") or "")
        if text:
            turns.append(Turn(speaker=role, role=role, text=text, at=event.text("time")))
    return Conversation(
        id=dialogue.identifier("uuid") or default_id,
        source=source,
        turns=turns,
        state=ConversationState(
            item=buyer.inner("item").text("Title"),
            notes=f"Target price {money(target, 'USD')}." if target is not None else None,
        ),
    )
