"""The review room in a real browser: a session in each room by keyboard, two people, a killed server, hostile text."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from joshi import review
from joshi.curation import Rejected
from joshi.datasets import run as freeze
from joshi.plan import Plan
from joshi.prompt import messages_for
from joshi.review import accounts
from joshi.review.rooms import blind
from joshi.review.store import open_store
from joshi.rubric import Rubric, failed
from joshi.schema import Preference, Sample, to_jsonl
from joshi.surrogates import fill
from joshi.workspace import Workspace, write_json, write_text

from ..conftest import sample_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PLAN = """[model]
base = "builtin:smollm2"
[curation]
sft_samples = [2, 12]
[review]
blind_samples = 3
"""
TALKS = (
    ("Steel has gone up twice, [PERSON_1] says, and we ask £12k–£13k from 14 March.",
     "Steel jumping twice is hard to absorb. Could you confirm the 14 March date?"),
    ("The castings are late again; our furnace was down for nine days.",
     "Nine days without a furnace is a rough stretch. Could you say which castings come first?"),
    ("We cannot hold the price beyond March, the plating line costs us more.",
     "Plating getting dearer is no fun for either of us. Could you send the new plating cost?"),
    ("Your last invoice query took us a week to answer.",
     "A week on one invoice is a lot of work. Could you send the credit note number?"),
)  # fmt: skip
HOSTILE = (
    '<script>document.title="owned"</script><img src=x onerror="document.title=1">\u202egnp.exe\u202c '
    + "long " * 20_000
)
ROBOTIC = "Dear Sir or Madam, per our internal policy PROC-7 the request is escalated. Yours faithfully"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def samples() -> list[Sample]:
    return [
        sample_of(answer, message, name=f"talk{i}", outstanding_asks=["delivery date"], item="cast housings")
        for i, (message, answer) in enumerate(TALKS)
    ]


def make_workspace(root: Path, rubric: Rubric) -> Workspace:
    """Four candidates and one that breaks rules; the base is imported by the command itself."""
    made = Workspace(root)
    write_text(made.plan_file, PLAN)
    write_text(made.candidates, to_jsonl(samples()))
    broken = sample_of(ROBOTIC, TALKS[0][0], name="robotic")
    findings = rubric.check(ROBOTIC, broken)
    write_text(made.rejected, to_jsonl([Rejected(sample=broken, reasons=failed(findings), findings=findings)]))
    return made


class Server:
    """'joshi review' as a process of its own, on one port, to be killed and started again."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "joshi", "--workspace", str(self.workspace.root), "review"]
        self.process = subprocess.Popen([*command, "--port", str(self.port)], env=os.environ | {"COLUMNS": "200"})
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the server ended"
            try:
                httpx.get(f"{self.address}/login", timeout=30)
                return
            except httpx.TransportError:
                time.sleep(0.2)
        raise AssertionError("the server did not answer")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, rubric: Rubric) -> Iterator[Server]:
    made = Server(make_workspace(tmp_path_factory.mktemp("review"), rubric))
    add(made, "First")
    yield made
    made.kill()


@pytest.fixture
def server(room: Server) -> Server:
    """The room, running, whatever became of it in the test before."""
    if room.process is None or room.process.poll() is not None:
        room.start()
    return room


def plan_of(workspace: Workspace) -> Plan:
    from joshi.plan_file import load_plan

    return load_plan(workspace.plan_file, {}).plan


def add(server: Server, name: str, role: str = "annotator") -> str:
    with open_store(plan_of(server.workspace), server.workspace) as store, store.writing() as connection:
        return accounts.add(connection, name, role, datetime.now(UTC))


@contextmanager
def at_work(browser: Browser, server: Server, name: str, width: int = 1280, scheme: str = "light") -> Iterator[Page]:
    """A new reviewer, logged in by keyboard; nothing may go wrong in the browser's console."""
    token = add(server, name)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Security Policy" in said.text else None)
    page.goto(server.address)
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(f"Good to see you, {name}")
    page.wait_for_load_state("load")
    yield page
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("h1")).to_have_text("Come in")
    assert wrong == []
    context.close()


def picture(page: Page, name: str) -> None:
    """For docs/review.md: JOSHI_PICTURES=docs/images makes them again."""
    if folder := os.environ.get("JOSHI_PICTURES"):
        page.wait_for_timeout(400)
        page.screenshot(path=Path(folder) / f"review-{name}.png", caret="initial")


def into(page: Page, key: str, room: str) -> None:
    """From the first page into a room."""
    page.keyboard.press(key)
    page.wait_for_url(f"**/{room}")


def decided(page: Page, n: int) -> None:
    expect(page.locator(".progress b")).to_have_text(str(n))


def statuses(server: Server) -> dict[str, str]:
    plan = plan_of(server.workspace)
    found = review.decided(server.workspace, plan)
    return {sample.id: sample.review.status for sample in found}


def test_a_session_in_the_samples_room_by_keyboard(browser: Browser, server: Server) -> None:
    with at_work(browser, server, "Ana") as page:
        into(page, "s", "samples")
        expect(page.locator("#findings li.kept")).to_have_count(7)
        page.keyboard.press("a")
        decided(page, 1)
        # Typing: letters that are keys elsewhere do nothing but stand in the text.
        page.keyboard.press("e")
        page.keyboard.type(" Per policy PROC-7, a rush, aware users ask.")
        expect(page.locator("#findings li.broken")).not_to_have_count(0)
        expect(page.locator("#marks mark")).not_to_have_count(0)
        assert "policy PROC-7" in "".join(page.locator("#marks mark").all_inner_texts())
        expect(page.locator("[data-saved]")).to_contain_text("Saved")
        picture(page, "samples")
        decided(page, 1)
        page.reload()
        assert page.locator("#answer").input_value().endswith("aware users ask."), "the draft is there again"
        page.keyboard.press("e")
        for _ in range(len(" Per policy PROC-7, a rush, aware users ask.")):
            page.keyboard.press("Backspace")
        page.keyboard.type(" Thanks for the plain words.")
        page.keyboard.press("Escape")
        page.keyboard.press("n")
        page.keyboard.type("Warmer.")
        page.keyboard.press("Escape")
        page.keyboard.press("a")
        decided(page, 2)
        page.keyboard.press("s")
        expect(page.locator(".progress")).to_contain_text("1 skipped")
        page.keyboard.press("r")
        decided(page, 3)
        # Undo, as far back as the session goes: the rejection, the skip, the edit, the approval.
        for left, n in ((3, 2), (2, 2), (1, 1), (0, 0)):
            page.keyboard.press("u")
            expect(page.locator("[data-key=u]")).to_have_text(f"U Undo {left}" if left else "U Undo")
            decided(page, n)
            expect(page.locator("#findings li")).to_have_count(7)
            if n == 1:
                assert page.locator("#answer").input_value().endswith("plain words.")
        expect(page.locator("[data-key=u]")).to_be_disabled()
        assert set(statuses(server).values()) == {"pending"}


def test_a_key_pressed_in_the_moment_a_new_item_arrives_counts(browser: Browser, server: Server) -> None:
    """htmx must know the new buttons by then: the browser alone would load a whole page, deaf to keys meanwhile."""
    with at_work(browser, server, "Ada") as page:
        into(page, "s", "samples")
        expect(page.locator("#findings li.kept")).to_have_count(7)
        page.evaluate("""() => {
            window.samePage = true;
            const keys = ["r", "u"];
            new MutationObserver((_, observer) => {
                if (!keys.length) return observer.disconnect();
                document.body.dispatchEvent(new KeyboardEvent("keydown", { key: keys.shift(), bubbles: true }));
            }).observe(document.body, { childList: true });
        }""")
        page.keyboard.press("a")
        expect(page.locator("[data-key=u]")).to_have_text("U Undo 1")  # approved, rejected, and that undone
        decided(page, 1)
        assert page.evaluate("window.samePage")
        page.keyboard.press("u")
        decided(page, 0)


def test_two_reviewers_at_once_and_each_is_told_of_the_other(browser: Browser, server: Server) -> None:
    with at_work(browser, server, "Bea") as bea, at_work(browser, server, "Cy") as cy:
        for page in (bea, cy):
            into(page, "s", "samples")
            expect(page.locator("#answer")).to_be_visible()
        assert bea.locator("#answer").input_value() != cy.locator("#answer").input_value()
        expect(cy.locator(".progress")).to_contain_text("1 with others")
        # The same item in two windows of Bea's: the first decision wins, the second is told and keeps its text.
        second = bea.context.new_page()
        second.goto(f"{server.address}/samples")
        expect(second.locator("#answer")).to_have_value(bea.locator("#answer").input_value())
        bea.keyboard.press("r")
        decided(bea, 1)
        second.keyboard.press("e")
        second.keyboard.type(" Typed in vain?")
        second.keyboard.press("Escape")
        second.keyboard.press("a")
        expect(second.locator("#notice")).to_contain_text("Bea decided on this item at")
        assert second.locator("#answer").input_value().endswith("Typed in vain?")
        bea.keyboard.press("u")
        decided(bea, 0)


def test_a_killed_server_loses_nothing_that_was_shown_as_saved(browser: Browser, server: Server) -> None:
    with at_work(browser, server, "Dora") as page:
        into(page, "s", "samples")
        page.keyboard.press("a")
        decided(page, 1)
        page.keyboard.press("e")
        page.keyboard.type(" Typed before.")
        expect(page.locator("[data-saved]")).to_contain_text("Saved")
        server.kill()
        page.keyboard.type(" Typed while it was away.")
        expect(page.locator("#notice")).to_contain_text("The server does not answer")
        assert page.locator("#answer").input_value().endswith("Typed before. Typed while it was away.")
        server.start()
        expect(page.locator("[data-saved]")).to_contain_text("Saved")  # without a key: it is tried again
        expect(page.locator("#notice")).to_be_empty()
        page.reload()
        assert page.locator("#answer").input_value().endswith("Typed before. Typed while it was away.")
        decided(page, 1)
        assert "approved" in statuses(server).values()
        page.keyboard.press("u")
        decided(page, 0)


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1280, "dark")])
def test_pages_fit_and_can_be_read(browser: Browser, server: Server, width: int, scheme: str) -> None:
    with at_work(browser, server, f"Eve {width} {scheme}", width, scheme) as page:
        for path in ("/", "/samples", "/preferences", "/blind", "/decisions"):
            page.goto(server.address + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.locator("h1").count() == 1
        page.goto(f"{server.address}/samples")
        if (width, scheme) == (400, "dark"):
            picture(page, "narrow")
        background, ink = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert contrast(background, ink) > 7
        for field in page.locator("textarea, input:not([type=hidden]), button, a").all():
            name = field.evaluate(
                "e => [...(e.labels || [])].map(l => l.textContent).join() + e.textContent + (e.ariaLabel || '')"
            )
            assert name.strip(), field


def contrast(*colours: str) -> float:
    """Contrast ratio of two CSS colours, as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


def test_hostile_text_is_text(browser: Browser, server: Server) -> None:
    before = server.workspace.candidates.read_text(encoding="utf-8")
    nasty = sample_of(HOSTILE, HOSTILE, name=HOSTILE[:60], instruction=HOSTILE, item=HOSTILE, notes=HOSTILE)
    write_text(server.workspace.candidates, to_jsonl([nasty]))
    try:
        with at_work(browser, server, "Finn", width=400) as page:
            into(page, "s", "samples")
            expect(page.locator(".unseen").first).to_be_visible()
            page.keyboard.press("e")
            page.keyboard.type("x")
            expect(page.locator("[data-saved]")).to_contain_text("Saved")
            page.keyboard.press("Escape")
            page.keyboard.press("r")
            decided(page, 1)
            page.goto(f"{server.address}/decisions")
            expect(page.locator(".log")).to_contain_text("rejected")
            assert page.title() == "Decisions · Joshi"
            assert page.locator("main script, main img").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= 400
            page.goto(f"{server.address}/samples")
            page.keyboard.press("u")
            decided(page, 0)
    finally:
        write_text(server.workspace.candidates, before)


def test_a_session_in_the_preferences_room_by_keyboard(browser: Browser, server: Server) -> None:
    make_pairs(server.workspace)
    with at_work(browser, server, "Gus") as page:
        into(page, "p", "preferences")
        expect(page.locator(".side")).to_have_count(2)
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("4")
        page.keyboard.press("7")
        page.keyboard.press("r")
        page.keyboard.type("It answers what was said; 1 to 7 and u are only letters here.")
        picture(page, "preferences")
        page.keyboard.press("Escape")
        page.keyboard.press("Enter")
        decided(page, 1)
        page.keyboard.press("b")  # the field for a better answer is typed into at once
        page.keyboard.type("Nine days without a furnace is a rough stretch. Which castings come first?")
        expect(page.locator("#findings li")).to_have_count(7)
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        page.keyboard.type("Shorter.")
        page.keyboard.press("Escape")
        page.keyboard.press("Enter")
        decided(page, 2)
        page.keyboard.press("u")
        decided(page, 1)
        assert page.locator("#better").input_value().startswith("Nine days")
        page.keyboard.press("u")
        decided(page, 0)
        assert page.locator("#rationale").input_value().startswith("It answers")
        assert page.locator("input[value=left]").is_checked()
        assert page.locator("[name=failure_modes]:checked").count() == 2
        page.keyboard.press("Enter")
        decided(page, 1)
        page.keyboard.press("s")
        expect(page.locator(".progress")).to_contain_text("1 skipped")
    plan = plan_of(server.workspace)
    review.refresh(plan, server.workspace)
    (pair,) = [json.loads(line) for line in server.workspace.candidate_pairs.read_text(encoding="utf-8").splitlines()]
    assert pair["rationale"].startswith("It answers")
    assert pair["failure_modes"] == ["no_internals", "professional"]


def make_pairs(workspace: Workspace) -> None:
    """Freeze a version, with a pair for each sample."""
    plan, file = plan_of(workspace), workspace.root / "open.jsonl"
    review.export(file, workspace, plan=plan)
    write_text(file, file.read_text(encoding="utf-8").replace('"pending"', '"approved"'))
    review.take(file, "File", plan, workspace)
    freeze(plan, workspace)
    filled = [fill(sample, plan.seed) for sample in samples()]
    pairs = [
        Preference(
            id=f"{one.id}/base", sample_id=one.id, prompt=messages_for(one, plan.model.system_prompt),
            chosen=one.ideal_answer, rejected=f"As per policy PROC-{i} the matter was escalated to my manager.",
            rationale="", failure_modes=["no_internals"], origin="sampled",
        )
        for i, one in enumerate(filled)
    ]  # fmt: skip
    write_text(workspace.dataset(plan.curation.dataset) / "preferences_v1.jsonl", to_jsonl(pairs))


def test_a_session_in_the_blind_room_by_keyboard(browser: Browser, server: Server) -> None:
    rows = [
        {
            "id": f"talk{i}/1", "instruction": "Reply to the supplier.", "context": f"Supplier: {message}",
            "answers": {"shipped": {"text": answer}, "base_with_rules": {"text": f"{answer} {ROBOTIC}"}},
        }
        for i, (message, answer) in enumerate(TALKS[:3])
    ]  # fmt: skip
    write_json(server.workspace.evaluation_report / "answers.json", rows)
    write_json(server.workspace.evaluation_report / "report.json", {"model_sha256": "cafe"})
    plan = plan_of(server.workspace)
    with open_store(plan, server.workspace) as store:
        blind.start(store, plan, server.workspace, "base_with_rules", datetime.now(UTC))
    with at_work(browser, server, "Hana") as page:
        into(page, "b", "blind")
        for n in range(4):
            decided(page, n)
            expect(page.locator("[data-row]")).to_have_count(9)
            robotic = page.locator("form#work .text").first.inner_text().endswith("faithfully")
            for key in "253n" if robotic else "454n":
                page.keyboard.press(key)
            for key in "454n" if robotic else "253y":
                page.keyboard.press(key)
            page.keyboard.press("ArrowRight" if robotic else "ArrowLeft")
            expect(page.locator("[data-row] input:checked")).to_have_count(9)
            if n == 2:
                picture(page, "blind")
            if n == 1:  # back a row and again, then undo the judgement before, then forward
                page.keyboard.press("k")
                page.keyboard.press("j")
                page.keyboard.press("u")
                decided(page, 0)
                expect(page.locator("[data-row] input:checked")).to_have_count(9)
                page.keyboard.press("Enter")
                decided(page, 1)
                expect(page.locator("[data-row] input:checked")).to_have_count(9)  # the draft was kept
            assert "shipped" not in page.content()
            page.keyboard.press("Enter")
        expect(page.locator("main")).to_contain_text("Finish and show me the sides")
        page.keyboard.press("f")
        expect(page.locator(".tally")).to_contain_text("3 times you would send what ships, 0 times the baseline")
