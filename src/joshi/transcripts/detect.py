"""What a file is and what a record is, by content; the suffix only settles what content leaves open."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from enum import Enum
from typing import Any, BinaryIO

from joshi.transcripts.documents import (
    LARGEST_DOCUMENT,
    Element,
    Found,
    Line,
    Text,
    lines,
    parse,
    size_of,
)
from joshi.transcripts.email_history import is_entry
from joshi.transcripts.fields import kind_of
from joshi.transcripts.thread import opens_thread
from joshi.transcripts.unread import Refused, printable, quarantined, rejected

SUFFIXES = (".json", ".jsonl", ".txt")
EVENTS = ("agent_execution", "learning_event")  # what ProcWise's workflow memory keeps beside its threads


class Shape(Enum):
    CHAT = "a chat"
    SHARE_GPT = "a ShareGPT chat"
    EMAIL = "one e-mail of a history"
    HISTORY = "an e-mail history"
    QUESTIONS = "questions with answers"
    CASINO = "a CaSiNo dialogue"
    CRAIGSLIST = "a CraigslistBargain dialogue"


def open_records(file: BinaryIO, suffix: str) -> Iterator[Found]:
    """The records of an open file.

    Raises:
        Refused: the file as a whole holds none; it then counts as one record.
    """
    if os.pread(file.fileno(), 2, 0) in (b"\xff\xfe", b"\xfe\xff"):
        raise quarantined("UTF-16; save the file as UTF-8")
    first, second = itertools.islice(itertools.chain(lines(file), (None, None)), 2)
    if first is None:
        raise quarantined("the file is empty")
    if opens_thread(first.excerpt()):
        return iter([Text(file)])
    value = _container(first)
    if isinstance(value, dict) or (value is not None and second is not None):
        return lines(file)
    try:
        document = _document(file)
    except Refused as refusal:
        # Not one JSON value. JSON Lines whose first line is damaged are still JSON Lines.
        too_large = size_of(file) > LARGEST_DOCUMENT and first.excerpt().strip() in ("[", "{")
        if suffix == ".jsonl" and not too_large:
            return lines(file)
        if second is not None and isinstance(_container(second), dict):
            return lines(file)
        if suffix == ".txt" and not first.excerpt().lstrip().startswith(("{", "[")):
            Text(file).load()  # damaged bytes are the better reason
            raise rejected('plain text that is not a thread; it must open with "Round 1 • <date>"') from None
        raise refusal
    return _elements(document)


def shape(value: Any) -> Shape:
    """Which reader a record is for.

    Raises:
        Refused: rejected; none of them.
    """
    if not isinstance(value, dict):
        raise rejected(f"{kind_of(value)} where a chat was expected")
    if value.get("type") in EVENTS:
        raise rejected(f"an event ({value['type']}), not a message of a chat")
    if "messages" in value:
        return Shape.HISTORY if _typed(value["messages"]) else Shape.CHAT
    if "topic" in value and "qas" in value:
        return Shape.QUESTIONS
    if "conversations" in value:
        return Shape.SHARE_GPT
    if "email_history" in value or "conversation_history" in value:
        return Shape.HISTORY
    if "chat_logs" in value:
        return Shape.CASINO
    if "scenario" in value and "events" in value:
        return Shape.CRAIGSLIST
    if is_entry(value):
        return Shape.EMAIL
    if "context" in value and "response" in value:
        raise rejected("an agent's output, not a chat")
    keys = ", ".join(printable(key, 30) for key in itertools.islice(value, 6)) or "none"
    raise rejected(
        f"not a chat of a known shape (its keys: {keys}); expected messages, conversations, email_history, chat_logs, "
        "scenario and events, or an e-mail's sender and body_text"
    )


def _typed(messages: Any) -> bool:
    """Whether messages say what they are in place of who wrote them."""
    return (
        isinstance(messages, list)
        and len(messages) > 0
        and all(isinstance(one, dict) and "message_type" in one and "role" not in one for one in messages)
    )


def _container(line: Line) -> dict[str, Any] | list[Any] | None:
    """A line's value if it is a whole JSON object or array; None if it is anything else."""
    try:
        value = line.load()
    except Refused:
        return None
    return value if isinstance(value, dict | list) else None


def _document(file: BinaryIO) -> Any:
    size = size_of(file)
    if size > LARGEST_DOCUMENT:
        raise quarantined(
            f"one JSON value of over {LARGEST_DOCUMENT // 2**20} MB; save it as JSON Lines, one record a line"
        )
    return parse(os.pread(file.fileno(), size, 0))


def _elements(value: Any) -> Iterator[Found]:
    if not isinstance(value, list):
        return iter([Element(value)])
    if not value:
        raise rejected("an empty list: no chats in it")
    return (Element(part, position, f"element {position}") for position, part in enumerate(value, 1))
