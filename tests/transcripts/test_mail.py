"""Mail files: threads by headers, own words only, and what hostile mail does."""

from __future__ import annotations

import io
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.schema import Conversation
from joshi.transcripts import Unread, read
from joshi.transcripts.replies import own_words

DATA = Path(__file__).parents[3] / "shared" / "data" / "zapier_replies"
BUYERS = ("buying.example",)


def mail(
    number: int, sender: str, text: str, *, answers: list[int] | None = None, html: str | None = None
) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = sender, "someone@else.example"
    message["Subject"] = "Valves"
    message["Date"] = f"Tue, 0{number} Mar 2026 10:00:00 +0100"
    message["Message-ID"] = f"<{number}@mail.example>"
    if answers:
        message["In-Reply-To"] = f"<{answers[-1]}@mail.example>"
        message["References"] = " ".join(f"<{one}@mail.example>" for one in answers)
    message.set_content(text)
    return message


ASK = mail(1, "Ann Ives <ann@valves.example>", "We must ask 5% more.\n\n-- \nAnn Ives\nValves Ltd\n")
REPLY = mail(
    2, "Bo <bo@buying.example>",
    "What changed?\n\nOn Tue, 3 Mar 2026 at 10:00, Ann Ives <ann@valves.example>\nwrote:\n\n> We must ask 5% more.\n",
    answers=[1],
)  # fmt: skip
OTHER = mail(3, "Cy <cy@tubes.example>", "Do you need tubes?")
ANSWER = mail(4, "Ann Ives <ann@valves.example>", "Steel did.", answers=[2])  # names the reply alone
TURNS = [("supplier", "We must ask 5% more."), ("buyer", "What changed?"), ("supplier", "Steel did.")]


def conversations_of(items: list[Conversation | Unread]) -> tuple[list[Conversation], list[Unread]]:
    return [i for i in items if isinstance(i, Conversation)], [i for i in items if isinstance(i, Unread)]


def turns(conversation: Conversation) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in conversation.turns]


def test_messages_of_a_folder_become_threads(tmp_path: Path) -> None:
    for name, message in (("d", ANSWER), ("a", ASK), ("c", REPLY), ("b", OTHER)):  # not in the order of sending
        (tmp_path / f"{name}.eml").write_bytes(bytes(message))
    [conversation], [unread] = conversations_of(list(read([tmp_path], BUYERS)))
    assert turns(conversation) == TURNS
    assert {p.person for p in conversation.participants} == {"Ann Ives", "Bo"}
    assert (unread.kind, "neither as buyer nor as supplier" in unread.reason) == ("rejected", True)


def test_an_mbox_and_a_zip_hold_the_same(tmp_path: Path) -> None:
    opening = b"From someone Tue Mar  3 10:00:00 2026\n"
    box = b"".join(opening + bytes(one) + b"\n" for one in (ASK, REPLY, OTHER, ANSWER))
    (tmp_path / "mail.mbox").write_bytes(box)
    [conversation], [unread] = conversations_of(list(read([tmp_path / "mail.mbox"], BUYERS)))
    assert turns(conversation) == TURNS
    assert unread.reason.startswith("message 3")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, message in (("x/1.eml", ASK), ("x/2.eml", REPLY), ("y/1.eml", OTHER), ("x/4.eml", ANSWER)):
            archive.writestr(name, bytes(message))
    (tmp_path / "mail.zip").write_bytes(out.getvalue())
    [conversation], [unread] = conversations_of(list(read([tmp_path / "mail.zip"], BUYERS)))
    assert (turns(conversation), conversation.source) == (TURNS, "mail.zip/x/*.eml")


def test_html_mail_is_read_as_a_person_sees_it(tmp_path: Path) -> None:
    rich = EmailMessage()
    rich["From"], rich["Message-ID"] = "ann@valves.example", "<1@mail.example>"
    rich.set_content(
        "<p>We must ask <b>5%</b> more.</p><!-- PROCWISE_MARKER:a:b --><script>x()</script>", subtype="html"
    )
    (tmp_path / "a.eml").write_bytes(bytes(rich))
    (tmp_path / "b.eml").write_bytes(bytes(REPLY))
    [conversation], _ = conversations_of(list(read([tmp_path], BUYERS)))
    assert turns(conversation)[0] == ("supplier", "We must ask 5% more.")


@pytest.mark.parametrize(
    ("raw", "kind", "reason"),
    [
        (b"Subject: x\n\nNo sender.", "quarantined", "no From line"),
        (b"From: a@b.example\n\n> only\n> quoted\n", "rejected", "without words of its own"),
        (
            b"From: a@b.example\nContent-Type: text/plain; charset=nonsense-9\n\n\xff\xfe",
            "quarantined",
            "cannot be decoded",
        ),
        (b"", "quarantined", "no From line"),
    ],
)
def test_a_message_that_says_nothing_is_said(tmp_path: Path, raw: bytes, kind: str, reason: str) -> None:
    (tmp_path / "a.eml").write_bytes(raw)
    [], [unread] = conversations_of(list(read([tmp_path], BUYERS)))
    assert (unread.kind, unread.source) == (kind, "*.eml")
    assert unread.reason.startswith("a.eml: ")
    assert reason in unread.reason


def test_parts_nested_without_end_are_refused(tmp_path: Path) -> None:
    parts = "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(5000))
    (tmp_path / "a.eml").write_text(f"From: a@b.example\n{parts}\nhello")
    [], [unread] = conversations_of(list(read([tmp_path], BUYERS)))
    assert unread.kind in ("quarantined", "rejected")


def test_a_file_that_is_no_mbox_is_one_record(read_file) -> None:
    [], [unread] = read_file("mail.mbox", "Dear all,\n\nFrom here on\n")
    assert "no mbox" in unread.reason


@given(raw=st.binary(max_size=400) | st.text(alphabet='From: <>@\n-MIMEboundary=;"\\\0é', max_size=400).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_no_message_stops_a_run(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("mail") / "a.eml"
    path.write_bytes(raw)
    assert len(list(read([path], BUYERS))) == 1


@pytest.mark.skipif(not DATA.is_dir(), reason="the corpora are not here")
@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("email_1_2", "individually.\""), ("email_1_3", "would be great."), ("email_1_4", "problem with it."),
        ("email_1_6", "rendering as well."), ("email_1_8", "and under this."), ("email_2_1", "with a reply"),
        ("email_2_2", "directly above line"), ("email_2_3", "unusual format"), ("email_BlackBerry", "another email"),
        ("email_bullets", "- and another"), ("email_gmail", "github message."), ("email_iPhone", "another email"),
        ("email_headers_no_delimiter", "another reply!"), ("email_one_is_not_on", "when I run..."),
        ("email_partial_quote_header", "is not working."), ("email_sent_from_my_not_signature", "mobile phone."),
        ("email_sig_delimiter_in_middle_of_line", "kthxbai"), ("correct_sig", "-- signature."),
        ("greedy_on", "is not working."), ("pathological", "to a computer."),
    ],
)  # fmt: skip
def test_public_fixtures_of_replies(name: str, ends: str) -> None:
    found = own_words((DATA / f"{name}.txt").read_text(encoding="utf-8"))
    assert found.endswith(ends)
    assert ">" not in found.replace("->", "")
