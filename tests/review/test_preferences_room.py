"""The preferences room: what is chosen becomes a pair for training, sides are shuffled, reasons are asked for."""

from __future__ import annotations

import html
import json
from typing import Any

import pytest

from joshi import review
from joshi.curation.pairs import chosen_by_people
from joshi.datasets import run as freeze
from joshi.plan import Plan
from joshi.prompt import messages_for
from joshi.review.rooms import preferences
from joshi.review.store import Store
from joshi.schema import Preference, Sample, to_jsonl
from joshi.surrogates import fill
from joshi.workspace import Workspace, write_text

from .conftest import Browser, Enter, candidates, decide_all, with_review

REJECTED = "Per our internal policy the request is escalated, sample {}."
BETTER = "Two steel rises in a row are hard to absorb. Could you hold the date of 14 March?"


@pytest.fixture
def filled(workspace: Workspace, plan: Plan) -> list[Sample]:
    return [fill(sample, plan.seed) for sample in candidates(6)]


@pytest.fixture
def pairs(workspace: Workspace, plan: Plan, filled: list[Sample]) -> list[Preference]:
    """A frozen version with a sampled pair for each of its samples."""
    decide_all(workspace, plan)
    freeze(plan, workspace)
    made = [
        Preference(
            id=f"{s.id}/base", sample_id=s.id, prompt=messages_for(s, plan.model.system_prompt), chosen=s.ideal_answer,
            rejected=REJECTED.format(i), rationale="", failure_modes=["no_internals"], origin="sampled",
        )
        for i, s in enumerate(filled)
    ]  # fmt: skip
    edited = made[0].model_copy(update={"id": "talk0/1/edit", "origin": "edited"})
    path = workspace.dataset(plan.curation.dataset) / "preferences_v1.jsonl"
    write_text(path, to_jsonl([*made, edited]))
    return made


def shown(browser: Browser, pairs: list[Preference]) -> tuple[Preference, str]:
    """The pair on the page, and on which side its chosen answer is."""
    for pair in pairs:
        places = [browser.page.find(html.escape(text, quote=False)) for text in (pair.chosen, pair.rejected)]
        if min(places) > 0:
            return pair, "left" if places[0] < places[1] else "right"
    raise AssertionError(browser.page)


def choose(browser: Browser, **form: Any) -> None:
    browser.post(f"/preferences/{browser.key}/decide", **(browser.form | form))


def test_choices_become_pairs_for_training(
    enter: Enter, workspace: Workspace, plan: Plan, pairs: list[Preference], filled: list[Sample]
) -> None:
    ana = enter("Ana")
    ana.get("/preferences")
    assert "of 6 decided" in ana.page, "what a person rewrote is not asked again"
    kept, side = shown(ana, pairs)
    choose(ana, choice=side, rationale="It asks for one thing.", failure_modes=["no_internals", "professional"])
    turned, side = shown(ana, pairs)
    choose(ana, choice="right" if side == "left" else "left", failure_modes=["one_next_step"])
    improved, _ = shown(ana, pairs)
    choose(ana, choice="better", better=BETTER, rationale="Shorter.")
    choose(ana, choice="equal")
    assert ana.status == 200, ana.page
    review.refresh(plan, workspace)
    found = chosen_by_people(filled, plan, workspace, 12)
    assert set(found) == {kept.sample_id, turned.sample_id, improved.sample_id}
    one = found[kept.sample_id]
    assert (one.chosen, one.rejected, one.origin) == (kept.chosen, kept.rejected, "review")
    assert (one.rationale, one.failure_modes) == ("It asks for one thing.", ["no_internals", "professional"])
    assert one.review.reviewer == "Ana"
    other = found[turned.sample_id]
    assert (other.chosen, other.rejected) == (turned.rejected, turned.chosen)
    assert other.rationale == "A reviewer found that the rejected answer breaks one_next_step."
    assert (found[improved.sample_id].chosen, found[improved.sample_id].rejected) == (BETTER, improved.rejected)
    asked_otherwise = plan.model_copy(update={"model": plan.model.model_copy(update={"system_prompt": "Other."})})
    assert chosen_by_people(filled, asked_otherwise, workspace, 12) == {}, "a choice counts for its prompt"


def test_reviewers_who_choose_opposite_answers_make_no_pair(
    enter: Enter, workspace: Workspace, plan: Plan, pairs: list[Preference], filled: list[Sample]
) -> None:
    both = with_review(plan, overlap=1.0)
    ana, bea = enter("Ana", plan=both), enter("Bea", plan=both)
    for who in (ana, bea):
        who.get("/preferences")
        while "Nothing left for you" not in who.page:
            pair, side = shown(who, pairs)
            other = {"left": "right", "right": "left"}[side]
            turned = who is bea and pair.sample_id == "talk0/1"
            choose(who, choice=other if turned else side, rationale="Plainer.")
    assert "1 wants a person who has not judged it yet" in bea.page
    review.refresh(both, workspace)
    found = chosen_by_people(filled, both, workspace, 12)
    assert set(found) == {pair.sample_id for pair in pairs} - {"talk0/1"}


def test_sides_are_shuffled_between_items_and_reviewers(
    store: Store, plan: Plan, workspace: Workspace, pairs: list[Preference]
) -> None:
    many = [pairs[0].model_copy(update={"id": f"{i}/base", "rejected": f"answer {i}"}) for i in range(200)]
    known = {sample.id: sample for sample in candidates(6)}
    preferences.sync(store, many, known, plan)
    from joshi.review.queue import of
    from joshi.review.store import ITEMS

    with store.reading() as connection:
        names = connection.execute(ITEMS.select().where(ITEMS.c.room == "preferences")).all()
        items = [of(connection, "preferences", row.item) for row in names]
        left = {
            name: [preferences.task(connection, item, review_as(name)).left == pairs[0].chosen for item in items]
            for name in ("Ana", "Bea")
        }
    assert 60 < sum(left["Ana"]) < 140
    assert left["Ana"] != left["Bea"]


def review_as(name: str):  # type: ignore[no-untyped-def]
    from joshi.review.log import Who

    return Who(name, "annotator", 1)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"choice": "left"}, "say why"),
        ({"choice": "better", "better": " ", "rationale": "x"}, "the better answer is empty"),
        ({"choice": "better", "better": "Write to ana.silva@delta.example.", "rationale": "x"}, "an email"),
        ({"choice": "left", "rationale": "Ask ana.silva@delta.example."}, "the rationale has an email"),
        ({"choice": "left", "failure_modes": ["rudeness"]}, "is no failure mode"),
        ({"choice": "up", "rationale": "x"}, "choice is missing or wrong"),
    ],
)
def test_what_cannot_be_taken_is_told(enter: Enter, pairs: list[Preference], form: dict[str, Any], said: str) -> None:
    ana = enter("Ana")
    ana.get("/preferences")
    choose(ana, **form)
    assert ana.status == 422
    assert said in ana.page.lower()


def test_undo_brings_the_choice_and_its_reasons_back(enter: Enter, pairs: list[Preference]) -> None:
    ana = enter("Ana")
    ana.get("/preferences")
    key = ana.key
    choose(ana, choice="right", rationale="It is kind.", failure_modes=["length"])
    ana.undo("preferences")
    assert ana.key == key
    assert "It is kind.</textarea>" in ana.page
    checked = [part[-90:] for part in ana.page.split(" checked>")[:-1]]
    assert any('value="right"' in part for part in checked)
    assert any('value="length"' in part for part in checked)


def test_what_stands_in_the_form_is_kept_and_the_better_answer_checked(enter: Enter, pairs: list[Preference]) -> None:
    ana = enter("Ana")
    ana.get("/preferences")
    text = "Per policy PROC-7 we wait."
    kept = ana.post(f"/preferences/{ana.key}/keep", choice="better", better=text, rationale="r", **ana.form)
    assert '<mark data-rule="no_internals">policy' in kept
    ana.get("/preferences")
    assert f"{text}</textarea>" in ana.page


def test_a_choice_stands_when_its_pair_is_no_longer_in_the_file(
    enter: Enter, workspace: Workspace, plan: Plan, pairs: list[Preference]
) -> None:
    ana = enter("Ana")
    ana.get("/preferences")
    pair, side = shown(ana, pairs)
    choose(ana, choice=side, rationale="It is kind.")
    path = workspace.dataset(plan.curation.dataset) / "preferences_v1.jsonl"
    write_text(path, to_jsonl(one for one in pairs if one.id != pair.id))
    ana.get("/preferences")
    review.refresh(plan, workspace)
    (line,) = workspace.candidate_pairs.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["sample_id"] == pair.sample_id
