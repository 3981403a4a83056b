"""What the events on an item come to: whether it is decided, and who is still wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from joshi.plan import Plan
from joshi.review.log import Event, undone

Status = Literal["open", "proposed", "disputed", "approved", "rejected", "judged"]


@dataclass(frozen=True)
class Standing:
    """`decision` is the newest one that stands; `approvers` stand behind its very text, in the order of their names.

    `wanted` is how many more reviewers are asked, none of them among `barred`.
    """

    status: Status
    decision: Event | None = None
    approvers: tuple[str, ...] = ()
    wanted: int = 0
    barred: frozenset[str] = frozenset()


def live(events: Sequence[Event], item_sha256: str) -> list[Event]:
    """The decisions on the item as it now is, that were neither taken back nor set aside by a specialist."""
    gone = undone(events)
    reopened = max(
        (event.number for event in events if event.kind == "reopened" and event.number not in gone), default=0
    )
    return [
        event
        for event in events
        if event.kind == "decided"
        and event.number not in gone
        and event.number > reopened
        and event.item_sha256 == item_sha256
    ]


def standing(events: Sequence[Event], item: str, item_sha256: str, plan: Plan) -> Standing:
    """The newest decision counts. An approval holds for the sha256 of the text approved, and if the plan wants two
    people, when two of them approved that text, of whom one may have written it; one person is enough to reject.

    Of a doubled item, two reviewers who contradict each other decide nothing: a third one does.
    """
    decisions = live(events, item_sha256)
    asked = 2 if is_doubled(item, plan) else 1
    if not decisions:
        return Standing("open", wanted=asked)
    newest = decisions[-1]
    latest = {event.reviewer: event for event in decisions}  # a later decision of the same reviewer takes its place
    judges = frozenset(latest)
    wanted = max(0, asked - len(judges))
    status = newest.body.get("status", "judged")
    two_person = plan.review.two_person and status != "judged"
    if asked == len(judges) == 2 and not two_person and _contradict(*latest.values()):
        return Standing("disputed", newest, wanted=1, barred=judges)
    if status != "approved":
        return Standing(status, newest, wanted=wanted, barred=judges)
    approvers = tuple(sorted(name for name, event in latest.items() if _approves(event, newest)))
    if two_person and len(approvers) < 2:
        # Whoever approved another text may approve this one.
        return Standing("proposed", newest, approvers, max(1, wanted), frozenset(approvers))
    return Standing("approved", newest, approvers, wanted, judges)


def _contradict(one: Event, other: Event) -> bool:
    """Approved and rejected; or each of two answers preferred to the other."""
    said = {event.body.get("choice", event.body.get("status")) for event in (one, other)}
    return said in ({"approved", "rejected"}, {"chosen", "rejected"})


def _approves(event: Event, newest: Event) -> bool:
    return event.body.get("status") == "approved" and event.after_sha256 == newest.after_sha256


def is_doubled(item: str, plan: Plan) -> bool:
    """Whether two reviewers are asked, each alone: the plan's share of the items, chosen by the seed and the id."""
    drawn = hashlib.sha256(f"{plan.seed}:overlap:{item}".encode()).digest()
    return int.from_bytes(drawn[:8]) < plan.review.overlap * 2**64
