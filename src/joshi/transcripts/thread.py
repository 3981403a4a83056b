"""Threads as plain text: "Round n • <date>", "From <sender> → <recipients>", "Subject: …", the message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from joshi.schema import Conversation, Participant, Turn
from joshi.transcripts.addresses import SET_BUYER_DOMAINS, Address, parse_address
from joshi.transcripts.bodies import plain_body
from joshi.transcripts.unread import printable, quarantined, rejected

_TITLE = "--- Prior Thread History ---"
_ROUND = re.compile(r"Round\s+(\S+)\s+•(.*)")
_ARROW = re.compile("→|->")


def read_thread(text: str, default_id: str, source: str, buyer_domains: Sequence[str]) -> Conversation:
    """One conversation. Whoever writes from one of these mail domains is the buyer, anyone else the supplier.

    Raises:
        Refused: rejected if no sender is the buyer; quarantined if a block does not say who sent it.
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
    return line.strip() == _TITLE or _ROUND.fullmatch(line.strip()) is not None


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
    return _Block(int(number) if re.fullmatch("[0-9]{1,9}", number) else None, date.strip() or None, sender)
