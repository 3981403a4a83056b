"""What events come to: the newest decision counts, undo takes back, two people approve where the plan wants them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from joshi.plan import Plan
from joshi.review.log import Event
from joshi.review.standing import is_doubled, standing

ONE = Plan()
TWO = Plan.model_validate({"review": {"two_person": True}})
OVERLAPPING = Plan.model_validate({"review": {"overlap": 1.0}})


def decided(number: int, reviewer: str, status: str, text: str = "text", item: str = "item") -> Event:
    return Event("samples", "a/1", reviewer, "decided", f"2026-01-01T00:00:{number:02d}", 1, item, "text", text,
                 body={"status": status}, number=number)  # fmt: skip


def undone(number: int, of: int) -> Event:
    return Event("samples", "a/1", "Ana", "undone", "2026", 1, "item", body={"of": of}, number=number)


def of(events: list[Event], plan: Plan = ONE, item: str = "item"):  # type: ignore[no-untyped-def]
    return standing(events, "a/1", item, plan)


def test_the_newest_decision_counts_and_undo_brings_back_the_one_before() -> None:
    happened = [decided(1, "Ana", "approved"), decided(2, "Ana", "rejected")]
    assert of(happened).status == "rejected"
    assert of([*happened, undone(3, 2)]).status == "approved"
    assert of([*happened, undone(3, 2), undone(4, 1)]).status == "open"


def test_a_decision_on_another_text_does_not_count() -> None:
    assert of([decided(1, "Ana", "approved", item="older")]).status == "open"


def test_reopening_sets_decisions_aside() -> None:
    reopened = Event("samples", "a/1", "Spec", "reopened", "2026", 1, "item", number=2)
    assert of([decided(1, "Ana", "approved"), reopened]).status == "open"
    assert of([decided(1, "Ana", "approved"), reopened, decided(3, "Bea", "rejected")]).status == "rejected"


def test_the_author_of_an_edit_is_not_its_only_approver() -> None:
    edit = decided(1, "Ana", "approved", "edited")
    assert of([edit], TWO).status == "proposed"
    assert of([edit, decided(2, "Ana", "approved", "edited")], TWO).status == "proposed"
    both = of([edit, decided(2, "Bea", "approved", "edited")], TWO)
    assert (both.status, both.approvers) == ("approved", ("Ana", "Bea"))


def test_who_approved_another_text_may_approve_the_new_one() -> None:
    happened = [decided(1, "Ana", "approved", "first"), decided(2, "Bea", "approved", "second")]
    now = of(happened, TWO)
    assert (now.status, now.wanted, now.barred) == ("proposed", 1, frozenset({"Bea"}))
    assert of([*happened, decided(3, "Ana", "approved", "second")], TWO).status == "approved"


def test_one_person_is_enough_to_reject() -> None:
    assert of([decided(1, "Ana", "approved"), decided(2, "Bea", "rejected")], TWO).status == "rejected"


def test_an_overlapping_item_wants_two_reviewers() -> None:
    assert of([], OVERLAPPING).wanted == 2
    first = of([decided(1, "Ana", "approved")], OVERLAPPING)
    assert (first.status, first.wanted, first.barred) == ("approved", 1, frozenset({"Ana"}))
    assert of([decided(1, "Ana", "approved"), decided(2, "Bea", "approved")], OVERLAPPING).wanted == 0


def test_of_a_doubled_item_two_who_contradict_each_other_decide_nothing() -> None:
    happened = [decided(1, "Ana", "approved"), decided(2, "Bea", "rejected")]
    now = of(happened, OVERLAPPING)
    assert (now.status, now.wanted, now.barred) == ("disputed", 1, frozenset({"Ana", "Bea"}))
    for third in ("approved", "rejected"):
        settled = of([*happened, decided(3, "Cy", third)], OVERLAPPING)
        assert (settled.status, settled.wanted) == (third, 0)
    assert of([*happened, decided(3, "Bea", "approved")], OVERLAPPING).status == "approved", "a mind may be changed"
    assert of(happened).status == "rejected", "one reviewer was asked; the other overrules him"


@given(st.permutations(["chosen", "rejected", "better", "equal"]))
def test_only_opposite_choices_of_two_answers_contradict(choices: list[str]) -> None:
    said = [
        replace(decided(number, reviewer, "judged"), body={"status": "judged", "choice": choice})
        for number, reviewer, choice in ((1, "Ana", choices[0]), (2, "Bea", choices[1]))
    ]
    expected = "disputed" if set(choices[:2]) == {"chosen", "rejected"} else "judged"
    assert of(said, OVERLAPPING).status == expected


@given(st.floats(0, 1))
def test_the_share_of_overlapping_items_is_the_plans(share: float) -> None:
    plan = Plan.model_validate({"review": {"overlap": share}})
    found = sum(is_doubled(f"talk/{i}", plan) for i in range(1000)) / 1000
    assert abs(found - share) < 0.08


DECISIONS = st.lists(
    st.tuples(st.sampled_from(["Ana", "Bea", "Cy"]), st.sampled_from(["approved", "rejected"]), st.sampled_from("xyz")),
    max_size=8,
)


@given(DECISIONS)
def test_nothing_is_approved_by_fewer_than_two_people_where_the_plan_wants_two(
    made: list[tuple[str, str, str]],
) -> None:
    happened = [decided(i + 1, who, status, text) for i, (who, status, text) in enumerate(made)]
    now = of(happened, TWO)
    if now.status == "approved":
        assert len(now.approvers) >= 2
        newest = happened[-1]
        behind = [e for e in happened if e.after_sha256 == newest.after_sha256 and e.body["status"] == "approved"]
        assert set(now.approvers) <= {event.reviewer for event in behind}
    if now.status == "proposed":
        assert now.wanted >= 1
        assert now.barred == set(now.approvers), "whoever approves another text may be asked"


@given(DECISIONS)
def test_undoing_everything_opens_the_item_again(made: list[tuple[str, str, str]]) -> None:
    happened = [decided(i + 1, who, status, text) for i, (who, status, text) in enumerate(made)]
    back = [undone(100 + i, event.number) for i, event in enumerate(reversed(happened))]
    assert of([*happened, *back]) == of([])
