"""Read chats of any known shape into `Conversation`: nothing is lost in silence, bad input stops no run."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any, BinaryIO

from joshi.errors import JoshiError
from joshi.schema import BENCHMARK_CANARY, Conversation
from joshi.transcripts import email_history
from joshi.transcripts.archives import ARCHIVES, Member, members
from joshi.transcripts.chat import read_chat, read_questions, read_share_gpt
from joshi.transcripts.corpora import read_casino, read_craigslist
from joshi.transcripts.detect import SUFFIXES, Shape, open_records, shape
from joshi.transcripts.documents import Element, Line, Text, intact
from joshi.transcripts.fields import Fields
from joshi.transcripts.mail import EML, MBOX, Mail, messages_of, together
from joshi.transcripts.tables import SUFFIXES as TABLES
from joshi.transcripts.tables import Broken, conversations
from joshi.transcripts.thread import read_thread, typed_messages
from joshi.transcripts.unread import Refused, Unread, printable, rejected
from joshi.workspace import files_below

__all__ = ["Unread", "read"]

Found = Line | Element | Text | Mail | Broken
KNOWN = (*SUFFIXES, *TABLES, EML, MBOX, *ARCHIVES)
Outcome = tuple[Found, Conversation | Refused]

# Capitals, as such papers are written: licence-renewals.jsonl is a transcript.
_PAPERS = re.compile(r"SOURCE\.txt|(?:README|LICENCE|LICENSE).*")
_HISTORIES = ("messages", "email_history", "conversation_history")
_COMMON = ("workflow_id", "supplier_id", "supplier_name", "thread_id")
_READERS: dict[Shape, Callable[[dict[str, Any], str, str], Conversation]] = {
    Shape.CHAT: read_chat,
    Shape.SHARE_GPT: read_share_gpt,
    Shape.QUESTIONS: read_questions,
    Shape.CASINO: read_casino,
    Shape.CRAIGSLIST: read_craigslist,
}


def read(paths: Sequence[Path], buyer_domains: Sequence[str] = ()) -> Iterator[Conversation | Unread]:
    """Yield one item for every record of these files, and of every file below these folders in sorted order.

    A record is a line of JSON Lines, an element of a JSON array, the rows of a CSV with one conversation's id, a
    text file, or all e-mails of one thread in a file or, as .eml, in a folder; files may lie in a gzip or zip; a
    file that cannot be taken apart is one record. `buyer_domains` are the buyer's mail domains, for sources that
    do not say who buys. Ids are unique over the run.

    Raises:
        JoshiError: a path does not exist (at once), or a file or folder cannot be read.
    """
    files = [found for path in paths for found in _files(path)]
    return _read(files, tuple(buyer_domains))


def _files(path: Path) -> list[tuple[Path, str]]:
    """Every file, with the name it is reported by; of a folder's files, not its hidden ones and papers."""
    try:
        if not path.exists():
            raise JoshiError(f"{path} does not exist; give a transcript file, or a folder of them")
        if path.is_file():
            return [(path, _name(path.name))]
        if not path.is_dir():
            raise JoshiError(f"{path} is neither a file nor a folder; give a transcript file, or a folder of them")
        _check_folders(path)
        return [
            (file, _name(file.relative_to(path).as_posix()))
            for file in files_below(path)
            if not _PAPERS.fullmatch(file.name)
        ]
    except OSError as error:
        raise _unreadable(error, path) from error


def _check_folders(path: Path) -> None:
    """Fail on a folder that may not be listed: looking for files in it would find none and say nothing."""

    def fail(error: OSError) -> None:
        raise error

    for _, folders, _ in os.walk(path, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]


def _name(name: str) -> str:
    # A file name is bytes; what is not UTF-8 in it is written out, so that every record stays UTF-8.
    return printable(os.fsencode(name).decode(errors="backslashreplace"), len(name) * 4)


def _unreadable(error: OSError, path: Path) -> JoshiError:
    return JoshiError(
        f"{error.filename or path} cannot be read ({error.strerror or error}); "
        "give this user read access or take it away, and run again"
    )


def _read(files: list[tuple[Path, str]], buyer_domains: tuple[str, ...]) -> Iterator[Conversation | Unread]:
    # A database without a name lies on disk once it outgrows its cache: millions of ids would fill the memory.
    with contextlib.closing(sqlite3.connect("", check_same_thread=False, isolation_level=None)) as owners:
        owners.executescript(
            "PRAGMA journal_mode=OFF; CREATE TABLE owner (id TEXT PRIMARY KEY, place TEXT) WITHOUT ROWID; BEGIN"
        )
        yield from _owned(files, buyer_domains, owners)


def _owned(
    files: list[tuple[Path, str]], buyer_domains: tuple[str, ...], owners: sqlite3.Connection
) -> Iterator[Conversation | Unread]:
    for member in _with_mail_together(_opened(files)):
        if member.refusal is not None:
            yield Unread(member.name, None, member.refusal.kind, member.refusal.reason, "")
            continue
        try:
            for found, outcome in _outcomes(member, buyer_domains):
                if isinstance(outcome, Refused):
                    yield _unread(member.name, found, outcome)
                    continue
                place = f"{member.name}:{found.line}" if found.line else member.name
                owner = _claim(owners, outcome.id, place)
                yield outcome if owner is None else _unread(member.name, found, _clash(outcome.id, owner))
        except OSError as error:
            raise _unreadable(error, Path(member.name)) from error


def _claim(owners: sqlite3.Connection, conversation_id: str, place: str) -> str | None:
    """Give an id to the conversation at this place; where it has an owner already, that one's place."""
    try:
        if owners.execute("INSERT OR IGNORE INTO owner VALUES (?, ?)", (conversation_id, place)).rowcount:
            return None
        [owner] = owners.execute("SELECT place FROM owner WHERE id = ?", (conversation_id,)).fetchone()
    except sqlite3.OperationalError as error:
        raise JoshiError(f"the ids of what was read find no room ({error}); free space in {gettempdir()}") from error
    return str(owner)


def _opened(files: list[tuple[Path, str]]) -> Iterator[Member]:
    for path, source in files:
        try:
            with path.open("rb") as file:
                yield from _members(file, path.suffix.lower(), source)
        except OSError as error:
            raise _unreadable(error, path) from error


def _with_mail_together(found: Iterable[Member]) -> Iterator[Member]:
    """Single messages of a folder answer each other: a run of them becomes one file that tells where each lies."""

    def folder(member: Member) -> str | None:
        return member.name.rpartition("/")[0] if member.suffix == EML and member.file else None

    for name, run in itertools.groupby(found, key=folder):
        if name is None:
            yield from run
            continue
        with TemporaryFile() as file:
            parts = []
            for member in run:
                assert member.file is not None  # `folder` gives others None
                start = file.tell()
                member.file.seek(0)
                shutil.copyfileobj(member.file, file)
                parts.append((member.name.rpartition("/")[2], start, file.tell() - start))
            file.flush()
            yield Member(f"{name}/*{EML}" if name else f"*{EML}", EML, file, parts=parts)


def _members(file: BinaryIO, suffix: str, source: str) -> Iterator[Member]:
    """The file itself, or what the archive holds but for papers; an archive that cannot be read is one record."""
    if suffix not in ARCHIVES:
        yield Member(source, suffix, file)
        return
    try:
        for member in members(file, suffix, source):
            if not _PAPERS.fullmatch(member.name.rpartition("/")[2]):
                yield member
    except Refused as refusal:
        yield Member(source, suffix, None, refusal)


def _outcomes(member: Member, buyer_domains: tuple[str, ...]) -> Iterator[Outcome]:
    file, suffix, source = member.file, member.suffix, member.name
    assert file is not None  # the caller has dealt with those that are refused
    if suffix not in KNOWN:
        what = f"{suffix} files are" if suffix else "a file without a suffix is"
        yield Text(file), rejected(f"{printable(what, 40)} not read; expected one of {', '.join(KNOWN)}")
        return
    try:
        records = _records(member, file)
    except Refused as refusal:
        yield Text(file), refusal
        return
    stem = source.rpartition("/")[2].rpartition(".")[0]
    mails: dict[email_history.Thread, list[Found]] = {}
    for found in records:
        try:
            first = _first_look(found, stem, source, buyer_domains)
        except Refused as refusal:
            yield found, refusal
            continue
        if isinstance(first, Conversation):
            yield found, first
        elif isinstance(first, email_history.Thread):
            mails.setdefault(first, []).append(found)
        else:
            yield from _history(first, f"{stem}-{found.position}", source, buyer_domains)
    yield from _threads(mails, stem, source, buyer_domains)


def _records(member: Member, file: BinaryIO) -> Iterable[Found]:
    if member.suffix == MBOX:
        return messages_of(file)
    if member.suffix in TABLES:
        return conversations(file)
    return together(file, member.parts) if member.suffix == EML else open_records(file, member.suffix)


def _first_look(
    found: Found, stem: str, source: str, buyer_domains: tuple[str, ...]
) -> Conversation | email_history.Thread | list[Found]:
    """The conversation that a record is, the thread that it is one e-mail of, or the e-mails in it."""
    if isinstance(found, Text):
        text = found.load()
        typed = typed_messages(text)
        return _usable(read_thread(text, stem, source, buyer_domains)) if typed is None else _entries(typed, None)
    value = found.load()
    kind = shape(value)
    if kind is Shape.HISTORY:
        return _entries(value, found.line)
    intact(value)
    if kind is Shape.EMAIL:
        return email_history.read_entry(value).thread
    return _usable(_READERS[kind](value, f"{stem}-{found.position}", source))


def _entries(value: dict[str, Any], line: int | None) -> list[Found]:
    """The e-mails that a record holds, each with what the record says of all of them."""
    entries = Fields(value).listed(next(key for key in _HISTORIES if key in value))
    if not entries:
        raise rejected("an empty e-mail history")
    common = {key: value[key] for key in _COMMON if value.get(key) is not None}
    return [
        Element({**common, **entry} if isinstance(entry, dict) else entry, place, f"entry {place}", line)
        for place, entry in enumerate(entries, 1)
    ]


def _history(entries: list[Found], default_id: str, source: str, buyer_domains: tuple[str, ...]) -> Iterator[Outcome]:
    mails: dict[email_history.Thread, list[Found]] = {}
    for found in entries:
        try:
            intact(found.load())
            mails.setdefault(email_history.read_entry(found.load()).thread, []).append(found)
        except Refused as refusal:
            yield found, refusal
    yield from _threads(mails, default_id, source, buyer_domains)


def _threads(
    mails: dict[email_history.Thread, list[Found]], default_id: str, source: str, buyer_domains: tuple[str, ...]
) -> Iterator[Outcome]:
    for found in mails.values():
        entries: Iterable[email_history.Entry] = (email_history.read_entry(one.load()) for one in found)
        try:
            yield found[0], _usable(email_history.read_conversation(entries, default_id, source, buyer_domains))
        except Refused as refusal:
            yield found[0], refusal


def _usable(conversation: Conversation) -> Conversation:
    """Refuse a conversation from which nothing can be learnt.

    Raises:
        Refused: rejected; fewer than two messages, only one side speaks, or it is the benchmark's.
    """
    if any(BENCHMARK_CANARY in turn.text for turn in conversation.turns):
        raise rejected("a task of joshi-bench, by which models are judged; take it out of the transcripts")
    roles = [turn.role for turn in conversation.turns if turn.role != "system"]
    if len(roles) < 2:
        raise rejected(f"{len(roles)} message{'s' * (len(roles) != 1)} with text; a chat has two or more")
    if len(set(roles)) == 1:
        raise rejected(f"only the {roles[0]} speaks; a chat has a buyer and a supplier")
    return conversation


def _clash(conversation_id: str, owner: str) -> Refused:
    shown = printable(conversation_id, 80)
    return rejected(
        f"the id {shown!r} is already that of {owner}; give each conversation its own id "
        "(where a record states none, the file's name makes it: rename the file)"
    )


def _unread(source: str, found: Found, refusal: Refused) -> Unread:
    reason = f"{found.where}: {refusal.reason}" if found.where else refusal.reason
    return Unread(source, found.line, refusal.kind, reason, found.excerpt())
