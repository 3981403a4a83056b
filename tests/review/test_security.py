"""What the room refuses: other hosts, other sites, forged forms, roles that may not, and texts that would be code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joshi.errors import PlanError
from joshi.plan import Plan
from joshi.review.room import hosts_of
from joshi.review.web.security import MOST_BYTES
from joshi.review.web.text import marked, typed, visible
from joshi.schema import Finding, to_jsonl
from joshi.workspace import Workspace

from ..conftest import sample_of
from .conftest import Browser, Enter

HOSTILE = (
    '<script>alert(1)</script> <img src=x onerror="alert(2)"> </textarea><svg onload=alert(3)> \u202egnp.exe\u202c '
    "{{ 7*7 }} \u200b \x1b[31m &amp; \u2067x\u2069"
)


def test_every_page_carries_a_strict_policy(enter: Enter) -> None:
    ana = enter("Ana")
    for path in ("/", "/login", "/samples", "/static/keys.js", "/nowhere"):
        ana.get(path)
        policy = ana.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert ana.headers["x-content-type-options"] == "nosniff"
        assert ana.headers["x-frame-options"] == "DENY"
    assert "style=" not in ana.page


def test_cookies_are_out_of_reach_for_scripts_and_other_sites(enter: Enter) -> None:
    ana = enter("Ana")
    ana.cookies.clear()
    ana.send("POST", "/login", follow=False, data={"token": "x"})
    assert "set-cookie" not in ana.headers
    again = enter("Bea")
    assert list(again.cookies.keys()) == ["joshi_review"]


def test_the_cookie_says_http_only_and_strict(enter: Enter, store, clock) -> None:  # type: ignore[no-untyped-def]
    from joshi.review import accounts

    ana = enter("Ana")
    with store.writing() as connection:
        token = accounts.add(connection, "Bea", "annotator", clock())
    ana.send("POST", "/login", follow=False, data={"token": token})
    cookie = ana.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1@evil.example", "[::1"])
def test_other_hosts_are_refused(enter: Enter, host: str) -> None:
    ana = enter("Ana")
    ana.get("/samples", headers={"host": host})
    assert ana.status == 421
    assert "names" in ana.page


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}],
)
def test_forms_from_other_sites_are_refused(enter: Enter, headers: dict[str, str]) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    ana.send("POST", f"/samples/{ana.key}/decide", headers=headers, data={"status": "rejected", **ana.form})
    assert ana.status == 403
    ana.get("/samples")
    assert "<b>0</b> of 7 decided" in ana.page


@pytest.mark.parametrize("path", ["decide", "skip", "keep"])
def test_forms_without_their_token_are_refused(enter: Enter, path: str) -> None:
    ana, bea = enter("Ana"), enter("Bea")
    ana.get("/samples")
    bea.get("/samples")
    form = ana.form | {"status": "rejected", "text": "x"}
    ana.post(f"/samples/{ana.key}/{path}", **(form | {"form_token": bea.form["form_token"]}))
    assert ana.status == 403
    ana.get("/samples")
    del form["form_token"]
    ana.post(f"/samples/{ana.key}/{path}", **form)
    assert ana.status == 422


def test_nobody_sees_a_room_without_logging_in(enter: Enter) -> None:
    browser = Browser(enter("Ana").app)
    for path in ("/", "/samples", "/preferences", "/blind", "/decisions", "/export.jsonl"):
        browser.get(path)
        assert "Come in" in browser.page
    browser.post("/samples/0123456789abcdef/decide", status="approved", text="x", seen="0", form_token="x")
    assert "Come in" in browser.page
    browser.send("POST", "/samples/undo", headers={"hx-request": "true"}, data={"form_token": "x"})
    assert browser.status == 401
    assert "Log in in another tab" in browser.page


def test_an_auditor_reads_and_decides_nothing(enter: Enter) -> None:
    ana, audrey = enter("Ana"), enter("Audrey", role="auditor")
    ana.get("/samples")
    ana.decide("approved")
    audrey.get("/decisions")
    assert "Ana" in audrey.page
    for path in ("/samples", "/preferences", "/blind"):
        audrey.get(path)
        assert audrey.status == 403
    audrey.post(f"/samples/{ana.key}/decide", status="approved", text="x", **(ana.form | audrey.form))
    assert audrey.status == 403
    audrey.get("/export.jsonl")
    assert audrey.page.count("\n") == 1
    ana.get("/export.jsonl")
    assert ana.status == 403


def test_an_annotator_sees_only_her_own_decisions(enter: Enter) -> None:
    ana, bea = enter("Ana"), enter("Bea")
    ana.get("/samples")
    ana.decide("approved")
    assert "talk0/1" in ana.get("/decisions")
    assert "talk0/1" not in bea.get("/decisions")


def test_a_specialist_reopens_and_an_annotator_does_not(enter: Enter) -> None:
    ana, spec = enter("Ana"), enter("Spec", role="specialist")
    ana.get("/samples")
    first = ana.key
    ana.decide("approved")
    number = 1
    ana.post(f"/decisions/{number}/reopen", form_token=ana.form["form_token"])
    assert ana.status == 403
    spec.get("/decisions")
    assert "Reopen this item" in spec.page
    spec.post(f"/decisions/{number}/reopen", form_token=spec.form["form_token"])
    assert spec.status == 200
    spec.get("/samples")
    assert spec.key == first


def test_hostile_transcripts_render_as_text(enter: Enter, workspace: Workspace) -> None:
    context = {"item": HOSTILE, "facts": [HOSTILE], "notes": HOSTILE, "outstanding_asks": [HOSTILE]}
    nasty = sample_of(HOSTILE, HOSTILE, name=HOSTILE, instruction=HOSTILE, supplier_sentiment=HOSTILE, **context)
    workspace.candidates.write_text(to_jsonl([nasty]), encoding="utf-8")
    ana = enter("Ana")
    ana.get("/samples")
    ana.decide("rejected")
    for page in (ana.get("/decisions"), ana.undo(), ana.get(f"/samples/{ana.key}/findings")):
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "<svg onload" not in page
        assert "\u202e" not in page
        assert "\x1b" not in page
    ana.get("/samples")
    assert 'title="U+202E RIGHT-TO-LEFT OVERRIDE"' in ana.page
    assert "{{ 7*7 }}" in ana.page


def test_a_megabyte_of_text_is_shown_and_kept(enter: Enter, workspace: Workspace) -> None:
    long = "Steel is hard. " * 70_000
    workspace.candidates.write_text(to_jsonl([sample_of(name="long", message=long)]), encoding="utf-8")
    ana = enter("Ana")
    ana.get("/samples")
    assert ana.status == 200
    assert len(ana.page) > 10**6
    kept = ana.post(f"/samples/{ana.key}/keep", text=long, **ana.form)
    assert "Saved" in kept
    ana.get("/samples")
    ana.send("POST", f"/samples/{ana.key}/keep", content=b"x" * (MOST_BYTES + 1))
    assert ana.status == 413


def test_beyond_this_machine_needs_tls_or_a_proxy_and_a_name() -> None:
    def plan(**values: object) -> Plan:
        return Plan.model_validate({"review": values})

    assert hosts_of(Plan(), secure=False) >= {"127.0.0.1", "localhost"}
    with pytest.raises(PlanError, match="tokens would cross the network in clear"):
        hosts_of(plan(host="192.168.1.5"), secure=False)
    with pytest.raises(PlanError, match=r"\[review\] names"):
        hosts_of(plan(host="0.0.0.0"), secure=True)
    assert "review.example" in hosts_of(plan(host="0.0.0.0", names=["review.example"]), secure=True)


TEXTS = st.text(st.sampled_from("ab<>&\"'\n\u202e\u2066\u200b\x00 é"), max_size=40)


@given(TEXTS)
def test_visible_text_has_no_markup_of_its_own(text: str) -> None:
    shown = str(visible(text))
    for mark in ("\u202e", "\u2066", "\u200b", "\x00"):
        assert mark not in shown
    bare = shown.replace('<span class="unseen"', "").replace("</span>", "")
    assert "<" not in bare


@given(TEXTS, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=4))
def test_marking_changes_no_word(text: str, spans: list[tuple[int, int]]) -> None:
    import html
    import re

    found = [Finding(rule="length", passed=False, message="", span=(min(s), min(max(s), len(text)))) for s in spans]
    shown = re.sub(r"</?mark[^>]*>", "", str(marked(text, found)))
    assert html.unescape(shown) == text + "\n"
    assert typed(typed(text)) == typed(text)


def test_a_key_of_another_room_opens_nothing(enter: Enter) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    key, form = ana.key, ana.form
    for room in ("preferences", "blind"):
        ana.send("POST", f"/{room}/{key}/keep", data={"choice": "left", **form})
        assert ana.status == 422
        assert "There is no such item" in ana.page
