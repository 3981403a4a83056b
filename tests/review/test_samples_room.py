"""The samples room as its browsers see it: decide, edit, undo, skip, come back; two people at once."""

from __future__ import annotations

import json
import sqlite3

import pytest

from joshi import datasets, review
from joshi.curation.pairs import make_pair, overruled
from joshi.plan import Plan
from joshi.rubric import Rubric
from joshi.workspace import Workspace

from .conftest import ROBOTIC, Clock, Enter, with_review

REWRITTEN = "Two steel rises are hard to absorb. Could you hold [PERSON_1]'s date of 14 March?"


def test_what_is_approved_in_the_room_is_frozen(enter: Enter, workspace: Workspace, plan: Plan) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    ana.decide("approved")
    ana.decide("rejected")
    edited = ana.answer.replace("hard to absorb", "a lot to absorb")
    ana.decide("approved", edited, note="Plainer.")
    for _ in range(3):
        ana.decide("approved")
    assert "to be rewritten" in ana.page
    assert "[PERSON_1] says" in ana.page
    ana.decide("approved", REWRITTEN)
    assert "Nothing left for you" in ana.page
    assert datasets.run(plan, workspace).metrics["sft"] == 6
    frozen = {sample.id: sample for sample in datasets.load_split(plan, workspace)}
    assert {sample.review.reviewer for sample in frozen.values()} == {"Ana"}
    assert frozen["talk2/1"].ideal_answer == edited
    assert frozen["talk2/1"].review.note == "Plainer."
    assert frozen["robotic/1"].review.original == ROBOTIC


def test_a_note_makes_a_pair_of_an_edit_that_broke_no_rule(
    enter: Enter, workspace: Workspace, plan: Plan, rubric: Rubric
) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    before = ana.answer
    ana.decide("approved", before.replace("hard to absorb", "a lot to absorb"), note="Plainer.")
    sample = review.decided(workspace, plan)[0]
    pair = make_pair(sample, "edited", "edit", before, rubric.check(before, sample), plan)
    assert pair is not None
    assert (pair.rationale, pair.rejected, pair.failure_modes) == ("Said of it: Plainer.", before, [])


def test_who_overrules_another_and_says_why_makes_a_pair(
    enter: Enter, workspace: Workspace, plan: Plan, rubric: Rubric
) -> None:
    both = with_review(plan, overlap=1.0)
    ana, bea = enter("Ana", plan=both), enter("Bea", plan=both)
    ana.get("/samples")
    mined, first = ana.key, ana.answer.replace("hard to absorb", "very hard to absorb")
    second = ana.answer.replace("hard to absorb", "a lot to absorb")
    ana.decide("approved", first)
    bea.get("/samples")
    while bea.key != mined:
        bea.decide("approved")
    bea.decide("approved", second, note="Plainer.")
    (sample,) = (one for one in review.decided(workspace, both) if one.review.displaced)
    assert (sample.ideal_answer, sample.review.displaced) == (second, [first])
    pair = make_pair(sample, "edited", "edit", overruled(sample), [], both)
    assert pair is not None
    assert (pair.chosen, pair.rejected, pair.rationale) == (second, first, "Said of it: Plainer.")


def test_a_third_person_settles_what_two_contradict_each_other_on(
    enter: Enter, workspace: Workspace, plan: Plan
) -> None:
    both = with_review(plan, overlap=1.0)
    ana, bea, cy = (enter(name, plan=both) for name in ("Ana", "Bea", "Cy"))

    def status() -> str:
        return next(one.review.status for one in review.decided(workspace, both) if one.id == "talk0/1")

    for who, said in ((ana, "approved"), (bea, "rejected")):
        who.get("/samples")
        while "of 7 decided" in who.page:
            broken = "to be rewritten" in who.page
            who.decide("rejected" if broken else said if "0 times over" in who.answer else "approved")
            if "Nothing left for you" in who.page:
                break
    assert status() == "pending", "neither of them alone decides"
    assert "1 wants a person who has not judged it yet" in bea.page
    cy.get("/samples")
    assert "Two reviewers contradict each other here" in cy.page
    assert "0 times over" in cy.answer
    cy.decide("approved")
    assert status() == "approved"
    assert "Every candidate is decided" in cy.page


def test_undo_goes_back_to_the_first_decision_of_the_log_in(enter: Enter, workspace: Workspace, plan: Plan) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    edited = ana.answer + " By Friday?"
    ana.decide("approved", edited)
    ana.decide("rejected")
    ana.post(f"/samples/{ana.key}/skip", **ana.form)
    keys = []
    for _ in range(3):
        ana.undo()
        keys.append(ana.key)
    assert len(set(keys)) == 3
    assert ana.answer == edited, "what was typed stands in the form again"
    ana.undo()
    assert ana.key == keys[-1], "there is nothing left to undo"
    assert [s.review.status for s in review.decided(workspace, plan)] == ["pending"] * 6
    kinds = [json.loads(line)["kind"] for line in events(workspace, plan)]
    assert kinds == ["decided", "decided", "skipped", "undone", "undone", "undone"], "nothing leaves the log"


def events(workspace: Workspace, plan: Plan) -> list[str]:
    out = workspace.root / "events.jsonl"
    review.export_events(out, plan, workspace)
    return out.read_text(encoding="utf-8").splitlines()


def test_another_log_in_undoes_nothing_of_an_earlier_one(enter: Enter) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    ana.decide("rejected")
    token_form = ana.form["form_token"]
    ana.post("/logout", form_token=token_form)
    assert "Come in" in ana.page
    ana.get("/samples")
    assert "Come in" in ana.page


def test_skipped_items_come_back_when_nothing_else_is_left(enter: Enter) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    first = ana.key
    ana.post(f"/samples/{first}/skip", **ana.form)
    assert ana.key != first
    assert "1 skipped, they come back" in ana.page
    for _ in range(5):
        ana.decide("rejected")
    ana.decide("rejected", "")
    assert ana.key == first


def test_two_reviewers_never_get_the_same_item(enter: Enter, clock: Clock) -> None:
    ana, bea = enter("Ana"), enter("Bea")
    ana.get("/samples")
    bea.get("/samples")
    assert ana.key != bea.key
    seen = {ana.key, bea.key}
    for _ in range(2):
        for browser in (ana, bea):
            browser.decide("rejected")
            assert browser.key not in seen
            seen.add(browser.key)
    bea.get("/samples")
    assert bea.key in seen, "loading the page again keeps the item"


def test_an_abandoned_item_goes_to_another_and_its_first_reviewer_is_told(enter: Enter, clock: Clock) -> None:
    ana, bea = enter("Ana"), enter("Bea")
    ana.get("/samples")
    clock.pass_(minutes=21)
    bea.get("/samples")
    assert bea.key == ana.key
    ana.decide("approved", "What I had typed. Could you confirm?")
    assert ana.status == 409
    assert "Bea is working on this item now" in ana.page
    assert "What I had typed." in ana.page
    bea.decide("rejected")
    ana.get("/samples")
    assert ana.status == 200


def test_of_two_windows_one_wins_and_the_other_is_told(enter: Enter, workspace: Workspace, plan: Plan) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    key, form, answer = ana.key, ana.form, ana.answer
    ana.decide("approved")
    ana.post(f"/samples/{key}/decide", status="rejected", text=answer, **form)
    assert ana.status == 409
    assert "Ana decided on this item at 09:00 UTC; your decision was not taken" in ana.page
    assert review.decided(workspace, plan)[0].review.status == "approved"


def test_a_draft_is_kept_and_marked(enter: Enter) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    text = ana.answer + "\r\nPer policy PROC-7 <b>we</b> wait."
    kept = ana.post(f"/samples/{ana.key}/keep", text=text, note="why", **ana.form)
    assert "Saved " in kept
    marks = '<mark data-rule="no_internals">policy </mark><mark data-rule="grounded">PROC-7</mark>'
    assert marks in kept  # where two findings meet, the narrower one shows
    assert "&lt;b&gt;we&lt;/b&gt;" in kept
    ana.get("/samples")
    assert ana.answer.endswith("Per policy PROC-7 &lt;b&gt;we&lt;/b&gt; wait.")
    assert 'value="why"' in ana.page


def test_a_draft_of_an_item_decided_meanwhile_is_refused(enter: Enter) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    key, form = ana.key, ana.form
    ana.decide("rejected")
    ana.post(f"/samples/{key}/keep", text="late", **form)
    assert ana.status == 409


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("Steel is hard on you. Could you hold £12,450 until 14 March?", "has a price in clear"),
        ("Steel is hard on you. Could Ana write to ana.silva@delta.example today?", "an email"),
        ("  \n ", "is empty"),
        ("Steel is \u202ehard. Could you confirm?", "hidden character U+202E RIGHT-TO-LEFT OVERRIDE"),
    ],
)
def test_what_may_not_be_approved_is_told_and_kept_in_the_form(enter: Enter, typed: str, said: str) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    key = ana.key
    ana.decide("approved", typed)
    assert ana.status == 422
    assert said in ana.page
    ana.get("/samples")
    assert ana.key == key


def test_a_broken_answer_is_not_approved_as_it_stands(enter: Enter) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    for _ in range(6):
        ana.decide("rejected")
    ana.decide("approved")
    assert ana.status == 422
    assert "no_boilerplate" in ana.page


def test_with_two_people_the_author_of_an_edit_is_not_asked_to_approve_it(
    enter: Enter, workspace: Workspace, plan: Plan
) -> None:
    two = with_review(plan, two_person=True)
    ana, bea = enter("Ana", plan=two), enter("Bea")
    ana.get("/samples")
    edited = ana.answer + " By Friday?"
    first = ana.key
    ana.decide("approved", edited)
    assert review.decided(workspace, two)[0].review.status == "pending"
    bea.get("/samples")
    assert bea.key == first
    assert "approved this text" in bea.page
    assert "rewritten from what was said" in bea.page
    bea.decide("approved")
    sample = review.decided(workspace, two)[0]
    assert (sample.review.status, sample.review.reviewer, sample.ideal_answer) == ("approved", "Ana + Bea", edited)


def test_a_candidate_that_curation_changed_is_open_again(enter: Enter, workspace: Workspace) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    first = ana.key
    ana.decide("approved")
    text = workspace.candidates.read_text(encoding="utf-8").replace("hard to absorb, 0 times", "hard to take, 0 times")
    workspace.candidates.write_text(text, encoding="utf-8")
    ana.decide("rejected")
    assert ana.key == first, "it comes first in the queue, and its approval was for another text"


def test_a_locked_database_is_told_and_what_was_typed_comes_back(enter: Enter, workspace: Workspace) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    other = sqlite3.connect(workspace.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ana.app.state.desk.store._engine.dispose()
    ana.decide("approved", "What I had typed. Could you confirm?")
    assert ana.status == 503
    assert "locked by another program; nothing was saved" in ana.page
    assert "What I had typed." in ana.page
    other.close()
    ana.get("/samples")
    assert ana.status == 200


def test_progress_and_time_left_are_told(enter: Enter, clock: Clock) -> None:
    ana = enter("Ana")
    ana.get("/samples")
    for _ in range(4):
        clock.pass_(minutes=2)
        ana.decide("rejected")
    assert "<b>4</b> of 7 decided · about 6 min left" in ana.page
