"""The blind room: nothing tells the sides before a reviewer has finished, and then they are right."""

from __future__ import annotations

import html
import json
import re
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.review import exchange
from joshi.review.blind.judgement import Judgement
from joshi.review.rooms import blind
from joshi.review.store import Store
from joshi.workspace import Workspace, write_json

from .conftest import START, Browser, Enter, with_review

N = 10
SCORES = {f"{side}_{what}": "3" for side in ("left", "right") for what in ("tone", "grounding", "next_step")}
INTERNALS = {"left_internals": "no", "right_internals": "no"}


@dataclass
class Report:
    """Stands where the statistics are: what it was given."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    def write(self, judgements: list[Judgement], plan: Plan, workspace: Workspace, **rest: Any) -> None:
        self.calls.append({"judgements": judgements, **rest})


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    found = Report()
    module = ModuleType("joshi.review.blind.report")
    module.write = found.write  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "joshi.review.blind.report", module)
    return found


@pytest.fixture
def session(store: Store, workspace: Workspace, plan: Plan, report: Report) -> Plan:
    """An evaluation of ten answers whose texts name their system, and a blind review of it."""
    rows = [
        {
            "id": f"talk{i}/1", "instruction": "Reply.", "context": f"Supplier: steel {i}", "reference": "r",
            "answers": {name: {"text": f"answer {i} of {name}"} for name in ("shipped", "base", "base_with_rules")},
        }
        for i in range(N)
    ]  # fmt: skip
    write_json(workspace.evaluation_report / "answers.json", rows)
    write_json(workspace.evaluation_report / "report.json", {"model_sha256": "cafe"})
    plan = with_review(plan, blind_samples=N)
    found = blind.start(store, plan, workspace, "base_with_rules", START)
    assert found == {"items": N, "repeats": 1, "wanted": N}
    return plan


def judge(browser: Browser, **changes: str) -> str:
    form = {"preferred": "left"} | SCORES | INTERNALS | browser.form | changes
    return browser.post(f"/blind/{browser.key}/decide", **form)


def shown(browser: Browser) -> tuple[str, str]:
    """The texts on the left and on the right."""
    found = re.findall(r'<div class="text" dir="auto">(answer \d+ of \w+)</div>', browser.page)
    assert len(found) == 2, browser.page
    return found[0], found[1]


def test_a_session_ends_with_the_sides_and_the_report(
    enter: Enter, session: Plan, report: Report, workspace: Workspace
) -> None:
    ana = enter("Ana", plan=session)
    ana.get("/blind")
    preferred = {}
    for _ in range(N + 1):
        left, _ = shown(ana)
        side = "left" if left.endswith("of shipped") else "right"
        n = int(left.split()[1])
        choice = "tie" if n == 0 else side
        preferred.setdefault(n, "tie" if n == 0 else "shipped")
        judge(ana, preferred=choice, **{f"{side}_tone": "5", f"{side}_internals": "yes"})
    assert "Finish and show me the sides" in ana.page
    assert report.calls == []
    ana.post("/blind/finish", form_token=ana.form["form_token"])
    assert f"<b>{N - 1}</b> times you would send what ships, <b>0</b> times the baseline (base with rules)" in ana.page
    (call,) = report.calls
    assert (call["model_sha256"], call["baseline"]) == ("cafe", "base_with_rules")
    judged: list[Judgement] = call["judgements"]
    assert [one.repeat for one in judged].count(True) == 1
    assert {one.item: one.preferred for one in judged} == {f"talk{n}/1": what for n, what in preferred.items()}
    for one in judged:
        assert (one.scores["shipped"]["tone"], one.scores["baseline"]["tone"]) == (5, 3)
        assert (one.mentions_internals["shipped"], one.mentions_internals["baseline"]) == (True, False)
        assert one.conversation == one.item.partition("/")[0]
    judge_again = ana.post("/blind/finish", form_token=ana.form["form_token"])
    assert "The sides" in judge_again


def test_nothing_on_a_page_tells_the_sides_or_that_an_item_comes_again(enter: Enter, session: Plan) -> None:
    """With the answers' own words taken out, the pages of an item and of its repeat are alike, whatever the sides."""
    ana = enter("Ana", plan=session)
    ana.get("/blind")
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    lefts = []
    for _ in range(N + 1):
        left, _ = shown(ana)
        lefts.append(left.endswith("of shipped"))
        bare = re.sub(r"answer \d+ of \w+|steel \d+", "", ana.page)
        bare = re.sub(r'[0-9a-f]{16}|value="\d+"|<b>\d+</b>|<small>\d+</small>|\d+ of \d+|disabled', "", bare)
        bare = re.sub(r"· about .*? left|· less than .*? left", "", bare)
        seen[lefts[-1]].add("".join(bare.split()))
        judge(ana)
    assert set(lefts) == {True, False}, "sides are random"
    assert seen[True] == seen[False]
    assert len(seen[True]) == 1


def test_sealed_judgements_are_out_of_reach(
    enter: Enter, session: Plan, store: Store, workspace: Workspace, plan: Plan
) -> None:
    ana, bea, spec = enter("Ana", plan=session), enter("Bea"), enter("Spec", role="specialist")
    ana.get("/blind")
    judge(ana, left_tone="5")
    for browser in (ana, bea, spec):
        page = browser.get("/decisions")
        assert "shipped" not in page
        assert not re.search(r"[0-9a-f]{8}/\d", page), "an item's name would tell which comparisons are repeats"
    assert "Ana" not in bea.page
    out = workspace.root / "events.jsonl"
    exchange.export_events(out, session, workspace)
    (line,) = [json.loads(one) for one in out.read_text(encoding="utf-8").splitlines()]
    assert line["sealed"] is True
    assert "sides" not in line
    ana.post("/blind/finish", form_token=ana.form["form_token"])
    assert ana.status == 422
    assert "omparisons are still to be judged" in ana.page


def test_two_reviewers_share_the_comparisons_and_the_last_one_ends_the_session(
    enter: Enter, session: Plan, report: Report
) -> None:
    ana, bea = enter("Ana", plan=session), enter("Bea")
    ana.get("/blind")
    bea.get("/blind")
    taken: dict[str, set[str]] = {"Ana": set(), "Bea": set()}
    while "decide" in ana.page or "decide" in bea.page:
        for name, browser in (("Ana", ana), ("Bea", bea)):
            browser.get("/blind")
            if "/decide" in browser.page:
                taken[name].add(browser.key)
                judge(browser)
        if "/decide" not in ana.page and "/decide" not in bea.page:
            break
    assert taken["Ana"].isdisjoint(taken["Bea"])
    assert len(taken["Ana"] | taken["Bea"]) == N + 1
    ana.post("/blind/finish", form_token=ana.form["form_token"])
    assert "Others are still judging" in ana.page
    assert report.calls == []
    bea.post("/blind/finish", form_token=bea.form["form_token"])
    assert len(report.calls) == 1
    by = {one.item: one.reviewer for one in report.calls[0]["judgements"] if not one.repeat}
    (again,) = [one for one in report.calls[0]["judgements"] if one.repeat]
    assert by[again.item] == again.reviewer, "what is shown again goes to who saw it before"


def test_who_has_seen_the_sides_judges_no_more(enter: Enter, session: Plan) -> None:
    ana = enter("Ana", plan=session)
    ana.get("/blind")
    for _ in range(N):
        judge(ana)
    key, form = ana.key, ana.form
    judge(ana)
    ana.post("/blind/finish", form_token=form["form_token"])
    ana.undo("blind") if "undo" in ana.page else ana.post("/blind/undo", form_token=form["form_token"])
    assert "The sides" in ana.page
    ana.post(f"/blind/{key}/decide", **({"preferred": "left"} | SCORES | INTERNALS | form))
    assert ana.status in (409, 422)


def test_undo_brings_a_judgement_back(enter: Enter, session: Plan) -> None:
    ana = enter("Ana", plan=session)
    ana.get("/blind")
    key = ana.key
    judge(ana, left_tone="2", preferred="tie")
    ana.undo("blind")
    assert ana.key == key
    checked = [re.findall(r'name="(\w+)" value="(\w+)"', part)[-1] for part in ana.page.split(" checked>")[:-1]]
    assert {("left_tone", "2"), ("preferred", "tie"), ("right_tone", "3")} <= set(checked)


@pytest.mark.parametrize(
    "change", [{"left_tone": "6"}, {"left_tone": "0"}, {"preferred": "shipped"}, {"left_internals": "maybe"}]
)
def test_what_is_no_judgement_is_refused(enter: Enter, session: Plan, change: dict[str, str]) -> None:
    ana = enter("Ana", plan=session)
    ana.get("/blind")
    judge(ana, **change)
    assert ana.status == 422
    field = next(iter(change)).replace("_", " ").capitalize()
    assert f"{field} is missing or wrong" in html.unescape(ana.page)


def test_one_session_at_a_time_and_closing_it_reports(
    store: Store, session: Plan, workspace: Workspace, report: Report
) -> None:
    with pytest.raises(JoshiError, match="is still open"):
        blind.start(store, session, workspace, "base", START)
    assert blind.close(store, session, workspace, START) == 0
    assert report.calls[0]["judgements"] == []
    with pytest.raises(JoshiError, match="--baseline may be base, base_with_rules"):
        blind.start(store, session, workspace, "nobody", START)


def test_without_an_evaluation_the_next_step_is_told(store: Store, plan: Plan, workspace: Workspace) -> None:
    with pytest.raises(JoshiError, match="run 'joshi evaluate' first"):
        blind.start(store, plan, workspace, "base", START)
