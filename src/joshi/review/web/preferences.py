"""The preferences room's pages."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response

from joshi.review import queue
from joshi.review.log import PREFERENCES
from joshi.review.progress import count as count_of
from joshi.review.rooms import preferences
from joshi.review.rooms.preferences import Choice
from joshi.review.web.desk import Signed, TheDesk, Worker, go, shown
from joshi.review.web.samples import Seen, Text, put_off
from joshi.review.web.text import marked, quoted

router = APIRouter(prefix="/preferences")
Modes = Annotated[list[str], Form()]


@router.get("")
def page(desk: TheDesk, who: Worker, item: str | None = None) -> HTMLResponse:
    """Two answers: those that the reviewer holds, or the next; or those asked for, after an undo."""
    desk.catch_up()
    at = desk.clock()
    with desk.store.writing() as connection:
        if item is None:
            found = queue.take_next(connection, PREFERENCES, who, desk.plan, at)
        else:
            found = queue.get(connection, item, PREFERENCES)
            queue.hold(connection, found, who, desk.plan, at)
        count = count_of(connection, PREFERENCES, who, at)
        task = preferences.task(connection, found, who) if found else None
        draft = queue.draft(connection, found, who) if found else {}
    if task is None:
        return desk.page("done.html.j2", who=who, room="preferences", **shown(None, count))
    form = {"choice": "", "better": "", "rationale": "", "failure_modes": []} | draft
    return desk.page(
        "preferences.html.j2", who=who, room="preferences", task=task, sample=task.sample, form=form,
        drafted=bool(draft), **shown(found, count),
    )  # fmt: skip


@router.post("/{key}/keep", dependencies=[Signed])
def keep(
    request: Request,
    desk: TheDesk,
    who: Worker,
    key: str,
    seen: Seen,
    choice: Text = "",
    better: Text = "",
    rationale: Text = "",
    failure_modes: Modes = [],  # noqa: B006 - FastAPI makes a new one for each request
) -> HTMLResponse:
    """Keep what stands in the form, and say what the rubric says of the better answer."""
    better = request.state.typed = better.replace("\r\n", "\n")
    at = desk.clock()
    form: dict[str, Any] = {"choice": choice, "better": better, "rationale": rationale.replace("\r\n", "\n")}
    form["failure_modes"] = failure_modes
    with desk.store.writing() as connection:
        item = queue.unchanged(connection, key, seen, PREFERENCES)
        queue.hold(connection, item, who, desk.plan, at)
        queue.save_draft(connection, item, who, form, at)
        task = preferences.task(connection, item, who)
    found = preferences.check(better, task.sample, desk.rubric) if better.strip() else []
    rows = [(finding, quoted(better, finding)) for finding in found]
    saved = f"{at.astimezone():%H:%M:%S}"
    return desk.page("findings.html.j2", rows=rows, marks=marked(better, found), saved=saved)


@router.post("/{key}/decide", dependencies=[Signed])
def decide(
    request: Request,
    desk: TheDesk,
    who: Worker,
    key: str,
    seen: Seen,
    choice: Annotated[Choice, Form()],
    better: Text = "",
    rationale: Text = "",
    failure_modes: Modes = [],  # noqa: B006
) -> Response:
    request.state.typed = "\n\n".join(filter(None, (better, rationale)))
    preferences.decide(
        desk.store, key, who, choice, better, rationale, failure_modes, seen, desk.plan, desk.clock()
    )  # fmt: skip
    return go("/preferences")


@router.post("/{key}/skip", dependencies=[Signed])
def skip(desk: TheDesk, who: Worker, key: str, seen: Seen) -> Response:
    return put_off(desk, who, key, seen, "/preferences")


@router.post("/undo", dependencies=[Signed])
def undo(desk: TheDesk, who: Worker) -> Response:
    item = preferences.undo(desk.store, who, desk.plan, desk.clock())
    return go(f"/preferences?item={item.key}" if item else "/preferences")
