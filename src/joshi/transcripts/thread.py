"""Threads as plain text, in the two ways in which ProcWise writes them.

"Round n • <date>", "From <sender> → <recipients>", "Subject: …", the message; or "Thread ID: …" and more such lines,
then "[Round n] <type>" and the message.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from joshi.schema import Conversation, Participant, Turn
from joshi.transcripts.addresses import SET_BUYER_DOMAINS, Address, parse_address
from joshi.transcripts.bodies import plain_body
from joshi.transcripts.unread import printable, quarantined, rejected

_TITLE = "--- Prior Thread History ---"
_ROUND = re.compile(r"(?:Round\s+(\S+)|Previous)\s+•(.*)")
_TYPED = re.compile(r"\[Round\s+([0-9]{1,9})\]\s+(\S+)")
_THREAD_ID = "Thread ID:"
_UNKNOWN = ("Unknown time", "Unknown sender")
_ARROW = re.compile("→|->")


def read_thread(text: str, default_id: str, source: str, buyer_domains: Sequence[str]) -> Conversation:
    """One conversation. Whoever writes from one of these mail domains is the buyer, anyone else the supplier.

    Raises:
        Refused: rejected if no sender is the buyer or one is unknown; quarantined if a block names no sender.
    """
    blocks = _blocks(text.replace("\r\n", "\n").split("\n"))
    if not any(block.sender.within(buyer_domains) for block in blocks):
        senders = printable(", ".join(dict.fromkeys(str(block.sender) for block in blocks)), 80)
        raise rejected(f"none of the senders ({senders}) is known as the buyer; {SET_BUYER_DOMAINS}")
    turns: list[Turn] = []
    participants: dict[Address, Participant] = {}
    for block in blocks:
        sender = block.sender
        body = plain_body("\n".join(block.body))
        role: Literal["buyer", "supplier"] = "buyer" if sender.within(buyer_domains) else "supplier"
        participants.setdefault(sender, Participant(role=role, person=sender.name, email=sender.email))
        if body:
            turns.append(Turn(speaker=str(sender), role=role, text=body, at=block.at, round=block.round))
    return Conversation(id=default_id, source=source, participants=list(participants.values()), turns=turns)


def opens_thread(line: str) -> bool:
    """Whether a text with this first line is a thread."""
    line = line.strip()
    return line == _TITLE or line.startswith(_THREAD_ID) or any(one.fullmatch(line) for one in (_ROUND, _TYPED))


def typed_messages(text: str) -> dict[str, Any] | None:
    """A thread of typed messages as the object that would hold it; None if the text is no such thread."""
    lines = text.replace("\r\n", "\n").strip().split("\n")
    if not (lines[0].startswith(_THREAD_ID) or _TYPED.fullmatch(lines[0].strip())):
        return None
    starts = [at for at, line in enumerate(lines) if _TYPED.fullmatch(line.strip())]
    header = [line.partition(":") for line in lines[: starts[0] if starts else len(lines)]]
    messages = []
    for start, end in itertools.pairwise([*starts, len(lines)]):
        opening = _TYPED.fullmatch(lines[start].strip())
        assert opening is not None  # it is why `start` is one
        content = "\n".join(lines[start + 1 : end])
        messages.append({"message_type": opening[2], "round": int(opening[1]), "content": content})
    named = {name.strip().casefold().replace(" ", "_"): value.strip() for name, _, value in header}
    return {**named, "messages": messages}


@dataclass(frozen=True)
class _Block:
    round: int | None
    at: str | None
    sender: Address
    body: list[str] = field(default_factory=list)


def _blocks(lines: list[str]) -> list[_Block]:
    blocks: list[_Block] = []
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        opening = _ROUND.fullmatch(line)
        if opening:
            blocks.append(_opened(opening, lines, at))
            at += 2
            if at < len(lines) and lines[at].startswith("Subject:"):
                at += 1
            continue
        if blocks:
            blocks[-1].body.append(lines[at])
        elif line not in ("", _TITLE):
            raise quarantined(f'line {at + 1}: expected "Round 1 • <date>", found {printable(line, 60)!r}')
        at += 1
    return blocks


def _opened(opening: re.Match[str], lines: list[str], at: int) -> _Block:
    """The block that begins with line `at` (0-based); its sender stands on the next line."""
    following = lines[at + 1].strip() if at + 1 < len(lines) else ""
    if not following.startswith("From "):
        found = printable(following, 60)
        raise quarantined(f'line {at + 2}: expected "From <sender> → <recipients>", found {found!r}')
    number, date = opening.groups()
    sender = parse_address(_ARROW.split(following.removeprefix("From "), maxsplit=1)[0])
    if sender.name in _UNKNOWN:
        raise rejected(f"line {at + 2}: nobody knows who sent it, so not which side speaks")
    date = None if date.strip() in _UNKNOWN else date.strip() or None
    return _Block(int(number) if re.fullmatch("[0-9]{1,9}", number or "") else None, date, sender)
