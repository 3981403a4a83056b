"""Mail as mail programs keep it: an .eml file is one message, an mbox many; each becomes an e-mail of a history.

Headers say which messages belong together (RFC 5322, 3.6.4: Message-ID, In-Reply-To, References); a message that names
none of the others begins a thread of its own.
"""

from __future__ import annotations

import email
import email.policy
import email.utils
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import cached_property
from typing import Any, BinaryIO

from joshi.transcripts.bodies import html_body, plain_body
from joshi.transcripts.documents import LARGEST_RECORD
from joshi.transcripts.replies import own_words
from joshi.transcripts.unread import printable, quarantined, rejected

EML, MBOX = ".eml", ".mbox"
MOST_HEADER_BYTES = 2**18  # read of each message to find its thread
_FROM = b"From "
_ID = re.compile(r"<[^<>\s]{1,400}>")


@dataclass(frozen=True)
class Mail:
    """A message by its place in the file: its 1-based position, and the thread that its headers put it in."""

    file: BinaryIO
    position: int
    where: str
    offset: int
    length: int
    threads: Threads = field(repr=False)
    line = None

    def load(self) -> dict[str, Any]:
        """The message as an entry of an e-mail history (joshi.transcripts.email_history).

        Raises:
            Refused: quarantined if it is too large or has no sender; rejected if it says nothing of its own.
        """
        if self.length > LARGEST_RECORD:
            raise quarantined(f"the message is over {LARGEST_RECORD // 2**20} MB; save it without attachments")
        try:
            message = _parsed(os.pread(self.file.fileno(), self.length, self.offset))
        except RecursionError:
            raise quarantined("parts nested too deeply to be a mail") from None
        sender = _header(message, "From")
        if not sender:
            raise quarantined("it has no From line, so it is no e-mail; export the message again")
        text = own_words(_text(message))
        if not text:
            raise rejected("a message without words of its own (a forwarded mail, or an attachment alone)")
        return {
            "email_id": _own_id(message),
            "subject": _header(message, "Subject"),
            "sender": sender,
            "body_text": text,
            "sent_at": _iso(_header(message, "Date")),
            "thread_headers": {"thread_id": self.threads.of(self.position)},
        }

    def excerpt(self) -> str:
        return printable(os.pread(self.file.fileno(), min(self.length, 800), self.offset).decode(errors="replace"))


@dataclass(frozen=True)
class Threads:
    """Which messages of a file answer each other."""

    ids: list[tuple[str | None, list[str]]]  # of each message: its own id, and those that it names

    @cached_property
    def _roots(self) -> list[str]:
        parent: dict[str, str] = {}

        def root(name: str) -> str:
            while parent.setdefault(name, name) != name:
                parent[name] = parent[parent[name]]  # shorter for the next one who asks
                name = parent[name]
            return name

        own = [one or f"message-{position}" for position, (one, _) in enumerate(self.ids, 1)]
        for name, (_, named) in zip(own, self.ids, strict=True):
            for other in named:
                one, two = root(other), root(name)
                if one != two:
                    parent[two] = one
        first: dict[str, str] = {}  # a thread is called by the first of its messages that is here
        return [first.setdefault(root(name), name) for name in own]

    def of(self, position: int) -> str:
        return self._roots[position - 1]


def messages_of(file: BinaryIO) -> list[Mail]:
    """The messages of an mbox in its order.

    Raises:
        Refused: quarantined; it does not begin with a message.
    """
    places = list(_places(file))
    if not places:
        raise quarantined('no mbox: its first line must begin with "From "; export the folder again')
    return together(file, [(f"message {position}", *place) for position, place in enumerate(places, 1)])


def together(file: BinaryIO, places: Sequence[tuple[str, int, int]]) -> list[Mail]:
    """Messages by name, offset and length, each in the thread that it and the others' headers put it in."""
    threads = Threads([_ids(file, offset, length) for _, offset, length in places])
    return [Mail(file, position, *place, threads) for position, place in enumerate(places, 1)]


def _places(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Where messages begin after their "From " lines (RFC 4155), and how long they are."""
    file.seek(0)
    start: int | None = None
    at = 0
    blank = True
    while line := file.readline(2**16):
        if blank and line.startswith(_FROM):
            if start is not None:
                yield start, at - start
            start = at + len(line)
        elif start is None:
            return
        at += len(line)
        blank = not line.strip()
    if start is not None:
        yield start, at - start


def _ids(file: BinaryIO, offset: int, length: int) -> tuple[str | None, list[str]]:
    raw = os.pread(file.fileno(), min(length, MOST_HEADER_BYTES), offset)
    head = _parsed(re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0] + b"\n\n")
    named = _ID.findall(f"{_header(head, 'References')} {_header(head, 'In-Reply-To')}")
    return _own_id(head), named


def _parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)  # the policy's class
    return message


def _header(message: EmailMessage, name: str) -> str:
    """A header in one line; empty if it is missing or cannot be decoded."""
    try:
        return " ".join(str(message.get(name, "")).split())
    except Exception:
        return ""


def _own_id(message: EmailMessage) -> str | None:
    found = _ID.search(_header(message, "Message-ID"))
    return found[0] if found else None


def _text(message: EmailMessage) -> str:
    """The plain text, or what a reader sees of the HTML."""
    for kind, read in (("plain", plain_body), ("html", html_body)):
        try:
            part = message.get_body((kind,))
            content = part.get_content() if part is not None else ""
        except Exception:
            raise quarantined("its text cannot be decoded; export the message again") from None
        if isinstance(content, str) and content.strip():
            return read(content)
    return ""


def _iso(date: str) -> str | None:
    found = email.utils.parsedate_tz(date)
    try:
        return datetime.fromtimestamp(email.utils.mktime_tz(found), UTC).isoformat() if found else None
    except (ValueError, OverflowError, OSError):
        return None
