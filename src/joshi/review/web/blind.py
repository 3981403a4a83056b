"""The blind room's pages. Nothing that they send tells which answer is whose before the reviewer has finished."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form
from fastapi.responses import HTMLResponse, Response

from joshi.review import queue
from joshi.review.log import BLIND_ROOM, Who
from joshi.review.progress import count as count_of
from joshi.review.rooms import blind
from joshi.review.rooms.blind import QUALITIES, Session, Verdict
from joshi.review.web.desk import Desk, Signed, TheDesk, Worker, go, shown
from joshi.review.web.samples import Seen, put_off

router = APIRouter(prefix="/blind")
Score = Annotated[int, Form(ge=1, le=5)]
YesNo = Annotated[Literal["yes", "no"], Form()]
NAMES = {"tone": "Tone", "grounding": "Grounding", "next_step": "Actionable next step"}
FIELDS = ("preferred", *(f"{side}_{what}" for side in ("left", "right") for what in (*QUALITIES, "internals")))


@router.get("")
def page(desk: TheDesk, who: Worker, item: str | None = None) -> HTMLResponse:
    """The next comparison; after the last one, the way to the sides; after that, what they were."""
    at = desk.clock()
    with desk.store.reading() as connection:
        session = blind.newest(connection)
        known = session is not None and (session.closed_at or blind.has_finished(connection, session, who.name))
    if session is None:
        return desk.page("blind_none.html.j2", who=who, room="blind")
    if known:
        return _sides(desk, who, session)
    with desk.store.writing() as connection:
        if item is None:
            found = blind.take_next(connection, who, desk.plan, at)
        else:
            found = queue.get(connection, item, BLIND_ROOM)
            queue.hold(connection, found, who, desk.plan, at)
        count = count_of(connection, BLIND_ROOM, who, at)
        task = blind.task(connection, found, who) if found else None
        draft = queue.draft(connection, found, who) if found else {}
    if task is None:
        return desk.page("done.html.j2", who=who, room="blind", **shown(None, count))
    form = dict.fromkeys(FIELDS, "") | draft
    return desk.page("blind.html.j2", who=who, room="blind", task=task, form=form, names=NAMES, **shown(found, count))


def _sides(desk: Desk, who: Who, session: Session) -> HTMLResponse:
    """What this reviewer preferred, with the sides named."""
    with desk.store.reading() as connection:
        judged = blind.judgements(connection, session, who.name)
    preferred = Counter(one.preferred for one in judged if not one.repeat)
    return desk.page(
        "blind_sides.html.j2", who=who, room="blind", session=session, judged=judged, preferred=preferred, names=NAMES
    )


def verdict(
    preferred: Annotated[Literal["left", "right", "tie"], Form()],
    left_tone: Score, left_grounding: Score, left_next_step: Score, left_internals: YesNo,
    right_tone: Score, right_grounding: Score, right_next_step: Score, right_internals: YesNo,
) -> Verdict:  # fmt: skip
    return Verdict(
        preferred,
        {
            "left": {"tone": left_tone, "grounding": left_grounding, "next_step": left_next_step},
            "right": {"tone": right_tone, "grounding": right_grounding, "next_step": right_next_step},
        },
        {"left": left_internals == "yes", "right": right_internals == "yes"},
    )


def partly(
    preferred: Annotated[str, Form()] = "",
    left_tone: Annotated[str, Form()] = "", left_grounding: Annotated[str, Form()] = "",
    left_next_step: Annotated[str, Form()] = "", left_internals: Annotated[str, Form()] = "",
    right_tone: Annotated[str, Form()] = "", right_grounding: Annotated[str, Form()] = "",
    right_next_step: Annotated[str, Form()] = "", right_internals: Annotated[str, Form()] = "",
) -> dict[str, str]:  # fmt: skip
    """What is chosen so far."""
    return {name: value[:5] for name, value in locals().items()}


@router.post("/{key}/keep", dependencies=[Signed])
def keep(
    desk: TheDesk, who: Worker, key: str, seen: Seen, form: Annotated[dict[str, Any], Depends(partly)]
) -> HTMLResponse:
    """Keep what is chosen so far."""
    at = desk.clock()
    with desk.store.writing() as connection:
        item = queue.unchanged(connection, key, seen, BLIND_ROOM)
        queue.hold(connection, item, who, desk.plan, at)
        queue.save_draft(connection, item, who, form, at)
    return desk.page("saved.html.j2", saved=f"{at.astimezone():%H:%M:%S}")


@router.post("/{key}/decide", dependencies=[Signed])
def decide(desk: TheDesk, who: Worker, key: str, seen: Seen, judged: Annotated[Verdict, Depends(verdict)]) -> Response:
    blind.judge(desk.store, key, who, judged, seen, desk.plan, desk.clock())
    return go("/blind")


@router.post("/{key}/skip", dependencies=[Signed])
def skip(desk: TheDesk, who: Worker, key: str, seen: Seen) -> Response:
    return put_off(desk, who, key, seen, "/blind")


@router.post("/undo", dependencies=[Signed])
def undo(desk: TheDesk, who: Worker) -> Response:
    item = blind.undo(desk.store, who, desk.plan, desk.clock())
    return go(f"/blind?item={item.key}" if item else "/blind")


@router.post("/finish", dependencies=[Signed])
def finish(desk: TheDesk, who: Worker) -> Response:
    """Show the reviewer the sides, for good."""
    blind.finish(desk.store, who, desk.plan, desk.workspace, desk.clock())
    return go("/blind")
