"""What holds for every source: each record gives exactly one item, and no input stops the run."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.errors import JoshiError
from joshi.schema import Conversation
from joshi.transcripts import Unread, read
from joshi.transcripts.documents import LARGEST_DOCUMENT, LARGEST_RECORD

GOOD = {"messages": [{"role": "user", "content": "8%."}, {"role": "assistant", "content": "Why?"}]}
MAIL = {"email_id": "e", "sender": "a@x.example", "body_text": "8%."}
DIALOGUE = {
    "dialogue_id": 1,
    "chat_logs": [{"id": "mturk_agent_1", "text": "a"}, {"id": "mturk_agent_2", "text": "b"}],
}
BARGAIN = {
    "uuid": "C",
    "scenario": {"kbs": [{"personal": {"Role": "buyer", "Target": 2}}, {"personal": {"Role": "seller"}}]},
    "events": [
        {"agent": 0, "action": "message", "data": "a"},
        {"agent": 1, "action": "message", "data": "b"},
    ],
}

REJECTED = [
    b'{"context": "a", "response": "b", "metadata": {}}',
    b'{"messages": []}',
    b'{"messages": [{"role": "user", "content": "alone"}]}',
    b'{"messages": [{"role": "referee", "content": "x"}]}',
    b'{"email_history": []}',
    b'{"something": "else"}',
    b"[1, 2]",
    b"{}",
    b"17",
]
QUARANTINED = [
    b"not json",
    b'{"messages": [{"role": "us',
    b"{",
    b'{"messages": "text"}',
    b'{"messages": [{"role": "user", "content": 5}]}',
    b'{"messages": NaN}',
    b'{"email_id": "e", "negotiation_context": {"target_price": 1e999}}',
    b'{"messages": [{"role": "user", "content": "\xc3\x28"}]}',
    b'{"messages": [{"role": "user", "content": "\x00"}]}',
    b'{"messages": [{"role": "user", "content": "\\u0000"}]}',
    b'{"messages": [{"role": "user", "content": "\\ud83d"}]}',
    b'{"messages": ' + b"[" * 100_000,
    b'{"id": 1' + b"0" * 5000 + b', "messages": []}',
    b'{"email_history": 1}',
    b'{"email_id": "e", "sender": []}',
    b'{"chat_logs": 1}',
    b'{"scenario": {"kbs": 1}, "events": []}',
]

record = st.one_of(
    st.just(("chat", GOOD)),
    st.tuples(st.just("mail"), st.tuples(st.sampled_from("AB"), st.sampled_from(["inbound", "outbound"]))),
    st.tuples(st.just("rejected"), st.sampled_from(REJECTED)),
    st.tuples(st.just("quarantined"), st.sampled_from(QUARANTINED)),
    st.tuples(st.just("blank"), st.sampled_from([b"", b"  ", b"\t\r"])),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(record, max_size=25),
    st.lists(record, max_size=25),
    st.booleans(),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_every_record_gives_exactly_one_item(before: Any, after: Any, marked: bool, line_end: bytes) -> None:
    records = [*before, ("chat", GOOD), *after]
    lines: list[bytes] = []
    expected: list[tuple[str, int | None]] = []  # (conversation's id or kind, line)
    threads: dict[str, list[tuple[int, str]]] = {}
    for number, (kind, value) in enumerate(records, 1):
        if kind == "chat":
            expected.append((f"mix-{number}", None))
        elif kind == "mail":
            threads.setdefault(value[0], []).append((number, value[1]))
            value = {**MAIL, "metadata": {"workflow_id": value[0], "direction": value[1]}}
        elif kind != "blank":
            expected.append((kind, number))
        lines.append(value if isinstance(value, bytes) else json.dumps(value).encode())
    for name, mails in threads.items():
        both = len({direction for _, direction in mails}) == 2
        expected.append((name, None) if both else ("rejected", mails[0][0]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mix.jsonl"
        path.write_bytes(b"\xef\xbb\xbf" * marked + line_end.join(lines))
        items = list(read([path]))
    assert [(item.kind, item.line) if isinstance(item, Unread) else (item.id, None) for item in items] == expected
    assert_well_formed(items)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw: Any) -> Any:
    """A good record of some shape with one of its values, at any depth, replaced by any JSON value."""
    mail = {
        **MAIL,
        "metadata": {"direction": "inbound"},
        "negotiation_context": {"current_offer": 1, "facts": ["x"]},
    }
    root: Any = json.loads(
        json.dumps(draw(st.sampled_from([GOOD, mail, DIALOGUE, BARGAIN, {"email_history": [mail]}])))
    )
    part = root
    while True:
        key = draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        if isinstance(part[key], dict | list) and part[key] and draw(st.booleans()):
            part = part[key]
            continue
        part[key] = draw(values)
        return root


@settings(max_examples=300, deadline=None)
@given(st.lists(damaged(), min_size=2, max_size=4), st.booleans())
def test_any_value_in_any_place_is_one_item_and_no_failure(records: list[Any], as_array: bool) -> None:
    # One mail is a thread of its own here; mails of one thread are one item.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.json"
        path.write_text(json.dumps(records) if as_array else "\n".join(json.dumps(one) for one in records))
        items = list(read([path]))
    histories = [len(one["email_history"] or []) for one in records if isinstance(one.get("email_history"), list)]
    at_most = len(records) + sum(max(count - 1, 0) for count in histories)
    mails = [one for one in records if "email_id" in one]
    assert len(records) - max(len(mails) - 1, 0) <= len(items) <= at_most
    assert_well_formed(items)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300) | st.text(max_size=300).map(str.encode),
    st.sampled_from(["x.json", "x.jsonl", "x.txt", "x.pdf", "x"]),
)
def test_any_bytes_give_at_least_one_item_and_no_failure(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        items = list(read([path]))
    assert items
    assert_well_formed(items)


def assert_well_formed(items: list[Conversation | Unread]) -> None:
    ids = [item.id for item in items if isinstance(item, Conversation)]
    assert len(ids) == len(set(ids))
    for item in items:
        if isinstance(item, Unread):
            assert item.reason and len(item.excerpt) <= 200
            assert (item.source + item.reason + item.excerpt).isprintable()
            (item.source + item.reason + item.excerpt).encode()
        else:
            assert Conversation.model_validate_json(item.model_dump_json()) == item


@pytest.mark.parametrize(
    ("name", "content", "kind", "reason"),
    [
        ("a.jsonl", b"", "quarantined", "the file is empty"),
        ("a.json", b" \n\n ", "quarantined", "the file is empty"),
        ("a.txt", b"\xef\xbb\xbf", "quarantined", "the file is empty"),
        ("a.jsonl", json.dumps(GOOD).encode("utf-16"), "quarantined", "UTF-16"),
        ("a.json", json.dumps(GOOD).encode("utf-16-be"), "quarantined", "NUL bytes"),
        ("a.txt", "Round 1 • x".encode("cp1252"), "quarantined", "not UTF-8: byte 0x95 at 9"),
        ("a.json", b"[" * 100_000, "quarantined", "nested too deeply"),
        ("a.json", b'[{"id": 1, "messages": [], "id": 2}]', "quarantined", "the key 'id' stands twice"),
        ("a.json", b'[{"messages": ', "quarantined", "not JSON: Expecting value at character 14"),
        ("a.json", b'[\n{"messages": []},\n{"messages": []}\n', "quarantined", "not JSON"),
        ("a.json", b"[]", "rejected", "an empty list"),
        ("a.xlsx", b"a,b", "rejected", ".xlsx files are not read; expected one of .json, .jsonl, .txt"),
        ("talk", b"x", "rejected", "a file without a suffix"),
    ],
)
def test_a_file_that_cannot_be_taken_apart_is_one_record(
    read_file, name: str, content: bytes, kind: str, reason: str
) -> None:
    conversations, [unread] = read_file(name, content)
    assert conversations == []
    assert (unread.source, unread.kind) == (name, kind)
    assert reason in unread.reason


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.txt"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_the_content_decides_the_shape_not_the_suffix(read_file, name: str, start: bytes) -> None:
    pretty = start + json.dumps([GOOD, GOOD], indent=1).encode()
    lines = start + b"\n".join([json.dumps(GOOD).encode()] * 2)
    damaged_first = start + b'{"messages": [{\n' + json.dumps(GOOD).encode() + b"\n"
    thread = start + "Round 1 • x\nFrom a@b.example → c\nHi\nRound 2 • y\nFrom d@e.example → f\nYes".encode()
    for content, found in [(pretty, (2, 0)), (lines, (2, 0)), (damaged_first, (1, 1)), (thread, (1, 0))]:
        conversations, unread = read_file(name, content, buyer_domains=["b.example"])
        assert (len(conversations), len(unread)) == found


@pytest.mark.parametrize("filler", [b"", b" "], ids=["text", "blank"])
def test_a_line_that_is_too_long_is_set_aside_and_the_next_is_read(read_file, filler: bytes) -> None:
    chat = b'{"messages": [{"role": "user", "content": "'
    long = filler * LARGEST_RECORD + chat + b"x" * LARGEST_RECORD + b'"}]}'
    [conversation], [unread] = read_file("big.jsonl", long + b"\n" + json.dumps(GOOD).encode())
    assert conversation.id == "big-2"
    assert (unread.kind, unread.line) == ("quarantined", 1)
    assert "over 16 MB" in unread.reason
    assert unread.excerpt.startswith(filler.decode() * 100 or '{"messages"')


def test_an_element_that_is_too_long_is_set_aside(read_file) -> None:
    long = {"messages": [{"role": "user", "content": "x" * (LARGEST_RECORD + 1)}]}
    [_], [unread] = read_file("big.json", [long, GOOD])
    assert unread.kind == "quarantined"
    assert "element 1: the record is over 16 MB" in unread.reason


@pytest.mark.parametrize("name", ["big.json", "big.jsonl"])
def test_one_json_value_beyond_the_limit_is_never_loaded(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"[\n")
    os.truncate(path, LARGEST_DOCUMENT + 1)
    [unread] = read([path])
    assert isinstance(unread, Unread)
    assert (unread.kind, unread.line) == ("quarantined", None)
    assert "save it as JSON Lines" in unread.reason


def test_json_lines_are_streamed(tmp_path: Path) -> None:
    words = "steel is up " * 15_000
    with (tmp_path / "long.jsonl").open("w") as out:
        for number in range(200):  # 36 MB, half of them mails of a hundred threads
            chat = {"messages": [{"role": "user", "content": words}, {"role": "buyer", "content": "Why?"}]}
            mail = {**MAIL, "body_text": words, "metadata": {"workflow_id": number, "direction": "inbound"}}
            out.write(json.dumps(mail if number % 2 else chat) + "\n")
    tracemalloc.start()
    count = sum(1 for _ in read([tmp_path]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 200
    assert peak < 8 * 2**20  # bytes


def test_a_folder_is_read_in_sorted_order_without_papers_and_hidden_files(tmp_path: Path) -> None:
    good = json.dumps(GOOD)
    kept = ["b/two.jsonl", "b/deep/one.jsonl", "a.jsonl", "licence-renewals.jsonl", "z.csv"]
    left = [
        "SOURCE.txt",
        "LICENCE__LICENSE",
        "LICENSE.txt",
        "README.md",
        "b/README.txt",
        ".hidden.jsonl",
        ".git/x.json",
    ]
    for name in [*kept, *left]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(good)
    items = list(read([tmp_path]))
    assert [item.source for item in items] == sorted(kept, key=lambda name: Path(name).parts)
    assert [type(item).__name__ for item in items] == ["Conversation"] * 4 + ["Unread"]


def test_an_id_is_given_once_in_a_run(tmp_path: Path) -> None:
    chat = json.dumps({"id": "x", **GOOD})
    (tmp_path / "a.jsonl").write_text(chat + "\n" + chat)
    (tmp_path / "b.json").write_text(f"[{chat}, {chat}]")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.jsonl").write_text(json.dumps(GOOD) + "\n" + json.dumps({"id": "a-1", **GOOD}))
    items = list(read([tmp_path]))
    assert [item.id for item in items if isinstance(item, Conversation)] == ["x", "a-1"]
    clashes = [item for item in items if isinstance(item, Unread)]
    assert [(item.source, item.line, item.kind) for item in clashes] == [
        ("a.jsonl", 2, "rejected"),
        ("b.json", None, "rejected"),
        ("b.json", None, "rejected"),
        ("c/a.jsonl", 2, "rejected"),
    ]
    assert "the id 'x' is already that of a.jsonl:1" in clashes[0].reason
    assert clashes[2].reason.startswith("element 2: ")


def test_a_file_name_that_is_not_utf8_is_written_out(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\x1b.jsonl"))
    path.write_text(json.dumps(GOOD))
    [conversation] = read([path])
    assert isinstance(conversation, Conversation)
    assert conversation.source == "caf\\xe9\ufffd.jsonl"
    assert conversation.model_dump_json()


def test_a_path_that_does_not_exist_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(JoshiError, match=r"nowhere does not exist; give a transcript file"):
        read([tmp_path, tmp_path / "nowhere"])


def test_a_path_that_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(JoshiError, match=r"pipe is neither a file nor a folder"):
        read([tmp_path / "pipe"])


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may read everything; permissions are tested as somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("closed", ["sub/chat.jsonl", "sub"])
def test_what_may_not_be_read_is_an_error_not_a_gap(closed: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sub").mkdir(mode=0o755)
        (folder / "sub" / "chat.jsonl").write_text(json.dumps(GOOD))
        folder.chmod(0o755)
        (folder / closed).chmod(0o000)
        try:
            with (
                ordinary_user(),
                pytest.raises(JoshiError, match=rf"{closed} cannot be read \(Permission denied\)"),
            ):
                list(read([folder]))
        finally:
            (folder / closed).chmod(0o755)
