"""Files inside gzip and zip: unpacked one at a time beside nothing of the user's, within bounds, and only ever read.

A few kilobytes may unpack to terabytes, and a member's name may lead anywhere. So names are reported and never opened,
and sizes are counted as bytes come out, whatever the archive says of itself.
"""

from __future__ import annotations

import gzip
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Any, BinaryIO

from joshi.transcripts.unread import Refused, printable, quarantined, rejected

LARGEST_MEMBER = 4 * 2**30  # bytes unpacked; a transcript file of 2 GB is read
MOST_RATIO = 200  # bytes out for each byte in, past the first megabyte: text packs 3 to 20 times
FREE_BYTES = 2**20
MOST_MEMBERS = 100_000
ARCHIVES = (".gz", ".zip")
_PIECE = 2**20


@dataclass(frozen=True)
class Member:
    """An unpacked file, its suffix, and its name for reports; or why it cannot be had."""

    name: str
    suffix: str
    file: BinaryIO | None
    refusal: Refused | None = None
    parts: Sequence[tuple[str, int, int]] = ()  # of several files in one: name, offset, length


def members(file: BinaryIO, suffix: str, source: str) -> Iterator[Member]:
    """What an archive holds, each member open only until the next is asked for.

    Raises:
        Refused: the archive as a whole cannot be read.
    """
    if suffix == ".gz":
        yield from _gzip(file, source)
    else:
        yield from _zip(file, source)


def _gzip(file: BinaryIO, source: str) -> Iterator[Member]:
    name = source.removesuffix(".gz")
    packed = file.seek(0, 2)
    file.seek(0)
    with gzip.GzipFile(fileobj=file) as stream, TemporaryFile() as out:
        yield _unpacked(name, stream, out, packed)


def _zip(file: BinaryIO, source: str) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise quarantined(f"no zip file: {printable(str(error))}; pack it again") from None
    with archive:
        entries = [one for one in archive.infolist() if not one.is_dir() and not _is_clutter(one.filename)]
        if not entries:
            raise rejected("an empty archive: no chats in it")
        if len(entries) > MOST_MEMBERS:
            raise quarantined(f"the archive has {len(entries)} members, at most {MOST_MEMBERS} are read; split it")
        for entry in sorted(entries, key=lambda one: one.filename):
            name = f"{source}/{printable(entry.filename, 200)}"
            refusal = _refusal(entry)
            if refusal:
                yield Member(name, "", None, refusal)
                continue
            try:
                stream = archive.open(entry)
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError) as error:
                yield Member(name, "", None, quarantined(f"cannot be unpacked: {printable(str(error))}; pack it again"))
                continue
            with stream, TemporaryFile() as out:
                yield _unpacked(name, stream, out, entry.compress_size)


def _is_clutter(name: str) -> bool:
    """Hidden files, and what systems put beside them."""
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in _path(name).parts)


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _refusal(entry: zipfile.ZipInfo) -> Refused | None:
    path = _path(entry.filename)
    if path.is_absolute() or ".." in path.parts or (path.parts[:1] and path.parts[0].endswith(":")):
        return quarantined("its name leads out of the archive; pack it again")
    if entry.flag_bits & 1:
        return rejected("it is encrypted; pack it without a password")
    if stat.S_ISLNK(entry.external_attr >> 16):
        return quarantined("it is a link; pack the file itself")
    return None


def _unpacked(name: str, stream: IO[bytes] | gzip.GzipFile, out: Any, packed: int) -> Member:
    suffix = Path(name).suffix.lower()
    if suffix in ARCHIVES:
        return Member(name, suffix, None, rejected("an archive inside an archive is not read; unpack it"))
    most = min(LARGEST_MEMBER, FREE_BYTES + MOST_RATIO * packed)
    size = 0
    while True:
        try:
            piece = stream.read(_PIECE)
        except (EOFError, OSError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            reason = f"the archive is damaged: {printable(str(error))}; pack it again"
            return Member(name, suffix, None, quarantined(reason))
        if not piece:
            break
        size += len(piece)
        if size > most:
            reason = f"it unpacks to over {most // 2**20} MB from {packed} bytes; unpack it and look at it yourself"
            return Member(name, suffix, None, quarantined(reason))
        out.write(piece)
    out.flush()
    return Member(name, suffix, out)
