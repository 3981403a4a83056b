"""Chats as JSON: one conversation an object, roles as chat APIs and ShareGPT name them or as Joshi does.

{"id"?, "messages": [{"role", "content", "name"?, "at"?, "state"?}], "participants"?, "context"?}. `state`,
`participants` and `context` hold Joshi's own records State, Participant and ConversationState.
"""

from __future__ import annotations

from typing import Any, Literal

from joshi.schema import Conversation, ConversationState, Participant, State, Turn
from joshi.transcripts.bodies import tidy
from joshi.transcripts.fields import Fields
from joshi.transcripts.unread import printable, quarantined, rejected

ROLES: dict[str, Literal["buyer", "supplier", "system"]] = {
    "supplier": "supplier",
    "user": "supplier",
    "buyer": "buyer",
    "assistant": "buyer",
    "system": "system",
    "human": "supplier",  # ShareGPT's names
    "gpt": "buyer",
}


def read_chat(value: dict[str, Any], default_id: str, source: str) -> Conversation:
    """One conversation; messages without text are no turns.

    Raises:
        Refused: rejected for a role that is neither side's; quarantined for a value of the wrong type.
    """
    chat = Fields(value)
    context = chat.inner("context")
    turns = [_turn(message) for message in chat.rows("messages")]
    return Conversation(
        id=chat.identifier("id") or default_id,
        source=source,
        participants=[row.record(Participant) for row in chat.rows("participants")],
        turns=[turn for turn in turns if turn.text],
        state=context.record(ConversationState),
    )


def read_share_gpt(value: dict[str, Any], default_id: str, source: str) -> Conversation:
    """{"id"?, "conversations": [{"from", "value"}], "system"?}, as ShareGPT and tools after it write chats.

    Raises:
        Refused: as `read_chat`.
    """
    chat = Fields(value)
    rows = [{"role": row.values.get("from"), "content": row.values.get("value")} for row in chat.rows("conversations")]
    system = chat.text("system")
    opening = [{"role": "system", "content": system}] if system else []
    return read_chat({"id": value.get("id"), "messages": [*opening, *rows]}, default_id, source)


def read_questions(value: dict[str, Any], default_id: str, source: str) -> Conversation:
    """{"topic", "qas": [{"question", "answer"}]}: who asks stands where a supplier would, who answers is the buyer.

    Raises:
        Refused: quarantined for a value of the wrong type.
    """
    turns = []
    for pair in Fields(value).rows("qas"):
        said: tuple[tuple[Literal["buyer", "supplier"], str | None], ...] = (
            ("supplier", pair.text("question")), ("buyer", pair.text("answer")),
        )  # fmt: skip
        turns += [Turn(speaker=role, role=role, text=tidy(text)) for role, text in said if text and text.strip()]
    return Conversation(id=default_id, source=source, participants=[], turns=turns)


def _turn(message: Fields) -> Turn:
    written = message.text("role")
    role = ROLES.get((written or "").strip().casefold())
    if role is None:
        found = "no role" if written is None else f"the role {printable(written, 30)!r}"
        raise rejected(f"{message.path} has {found}; a role must be one of {', '.join(ROLES)}")
    content = message.text("content")
    if content is None:
        raise quarantined(f"{message.path}.content must be text, found nothing")
    state = message.inner("state")
    return Turn(
        speaker=message.text("name") or role,
        role=role,
        text=tidy(content),
        at=message.text("at"),
        state=state.record(State) if state.values else None,
    )
