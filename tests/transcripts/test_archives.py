"""Transcripts inside gzip and zip, honest and hostile."""

from __future__ import annotations

import gzip
import io
import json
import zipfile

import pytest

from joshi.transcripts import archives

TALK = [{"role": "user", "content": "We must ask 5% more."}, {"role": "assistant", "content": "What changed?"}]
CHAT = json.dumps({"messages": TALK})


def zipped(*entries: tuple[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def test_a_gzip_is_the_file_it_holds(read_file) -> None:
    [conversation], [] = read_file("chats.jsonl.gz", gzip.compress(CHAT.encode()))
    assert (conversation.id, conversation.source) == ("chats-1", "chats.jsonl")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_is_read_member_by_member(read_file, method: int) -> None:
    content = zipped(
        ("b/two.jsonl", f"{CHAT}\nnonsense"), ("a.json", CHAT), ("README.md", "x"), ("__MACOSX/._a.json", "x"),
        ("table.xlsx", "x"), method=method,
    )  # fmt: skip
    conversations, unread = read_file("all.zip", content)
    assert [(c.id, c.source) for c in conversations] == [("a-1", "all.zip/a.json"), ("two-1", "all.zip/b/two.jsonl")]
    assert [(u.source, u.line, u.kind) for u in unread] == [
        ("all.zip/b/two.jsonl", 2, "quarantined"), ("all.zip/table.xlsx", None, "rejected")
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../out.json", "/etc/out.json", "a/../../out.json", "C:\\out.json", "..\\out.json"])
def test_a_name_that_leads_out_is_never_followed(read_file, name: str) -> None:
    [conversation], [unread] = read_file("all.zip", zipped((name, CHAT), ("fine.json", CHAT)))
    assert conversation.id == "fine-1"
    assert (unread.kind, unread.reason) == ("quarantined", "its name leads out of the archive; pack it again")


def test_a_bomb_stops_at_its_bound(read_file, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = b"0" * 300_000_000
    [], [unread] = read_file("bomb.json.gz", gzip.compress(bomb, 9))
    assert unread.kind == "quarantined"
    assert "unpacks to over" in unread.reason
    [conversation], [unread] = read_file("all.zip", zipped(("bomb.json", bomb), ("fine.json", CHAT)))
    assert (conversation.id, unread.source) == ("fine-1", "all.zip/bomb.json")
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 50)
    [], [unread] = read_file("chat.json.gz", gzip.compress(CHAT.encode()))
    assert "unpacks to over" in unread.reason


def test_a_size_that_the_zip_lies_about_is_counted(read_file) -> None:
    content = bytearray(zipped(("a.json", CHAT)))
    place = content.find(b"PK\x01\x02") + 24  # the uncompressed size in the directory
    content[place : place + 4] = (5).to_bytes(4, "little")
    conversations, unread = read_file("all.zip", bytes(content))
    assert (len(conversations), len(unread)) == (0, 1)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json.gz", b"no gzip", "the archive is damaged"),
        ("a.json.gz", gzip.compress(CHAT.encode(), mtime=0)[:-12], "the archive is damaged"),
        ("a.zip", b"no zip", "no zip file"),
        ("a.zip", zipped(), "an empty archive"),
        ("a.zip", zipped(("b.zip", zipped(("a.json", CHAT)))), "an archive inside an archive"),
    ],
)
def test_what_cannot_be_unpacked_is_one_record(read_file, name: str, content: bytes, reason: str) -> None:
    [], [unread] = read_file(name, content)
    assert reason in unread.reason


def test_a_password_and_a_link_are_said(read_file) -> None:
    content = bytearray(zipped(("a.json", CHAT)))
    content[content.find(b"PK\x01\x02") + 8] |= 1
    [], [unread] = read_file("a.zip", bytes(content))
    assert "encrypted" in unread.reason
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("a.json")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    [], [unread] = read_file("b.zip", out.getvalue())
    assert "it is a link" in unread.reason
