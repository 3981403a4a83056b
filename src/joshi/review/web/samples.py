"""The samples room's pages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response

from joshi.review import queue
from joshi.review.log import SAMPLES, Who
from joshi.review.progress import count as count_of
from joshi.review.rooms import samples
from joshi.review.web.desk import Desk, Signed, TheDesk, Worker, go, shown
from joshi.review.web.text import marked, quoted, typed

router = APIRouter(prefix="/samples")
Text = Annotated[str, Form()]
Seen = Annotated[int, Form()]


@router.get("")
def page(desk: TheDesk, who: Worker, item: str | None = None) -> HTMLResponse:
    """The item that the reviewer holds, or the next one; or the one asked for, after an undo."""
    desk.catch_up()
    at = desk.clock()
    with desk.store.writing() as connection:
        found = (
            queue.take_next(connection, SAMPLES, who, desk.plan, at)
            if item is None
            else queue.get(connection, item, SAMPLES)
        )
        if item is not None and found is not None:
            queue.hold(connection, found, who, desk.plan, at)
        count = count_of(connection, SAMPLES, who, at)
        task = samples.task(connection, found, desk.plan) if found else None
        draft = queue.draft(connection, found, who) if found else {}
    if task is None:
        return desk.page("done.html.j2", who=who, room="samples", **shown(None, count))
    answer = typed(draft.get("text", task.text))
    cleaned = "text" not in draft and answer != task.text.replace("\r\n", "\n")
    return desk.page(
        "samples.html.j2", who=who, room="samples", task=task, sample=task.sample, answer=answer, cleaned=cleaned,
        note=draft.get("note", task.note), drafted=bool(draft), **shown(found, count),
    )  # fmt: skip


@router.get("/{key}/findings")
def findings(desk: TheDesk, who: Worker, key: str) -> HTMLResponse:
    """What the rubric says of the text as the page shows it."""
    with desk.store.reading() as connection:
        task = samples.task(connection, queue.get(connection, key, SAMPLES), desk.plan)
        draft = queue.draft(connection, task.item, who)
    return _findings(desk, task, typed(draft.get("text", task.text)), None)


@router.post("/{key}/keep", dependencies=[Signed])
def keep(
    request: Request, desk: TheDesk, who: Worker, key: str, seen: Seen, text: Text = "", note: Text = ""
) -> HTMLResponse:
    """Keep what was typed, then say what the rubric says of it."""
    text = request.state.typed = text.replace("\r\n", "\n")
    at = desk.clock()
    with desk.store.writing() as connection:
        item = queue.unchanged(connection, key, seen, SAMPLES)
        queue.hold(connection, item, who, desk.plan, at)
        queue.save_draft(connection, item, who, {"text": text, "note": note.replace("\r\n", "\n")}, at)
        task = samples.task(connection, item, desk.plan)
    return _findings(desk, task, text, f"{at.astimezone():%H:%M:%S}")


def _findings(desk: Desk, task: samples.Task, text: str, saved: str | None) -> HTMLResponse:
    found = samples.check(text, task.sample, desk.rubric)
    rows = [(finding, quoted(text, finding)) for finding in found]
    values: dict[str, Any] = {"rows": rows, "marks": marked(text, found), "saved": saved}
    return desk.page("findings.html.j2", **values)


@router.post("/{key}/decide", dependencies=[Signed])
def decide(
    request: Request,
    desk: TheDesk,
    who: Worker,
    key: str,
    seen: Seen,
    status: Annotated[Literal["approved", "rejected"], Form()],
    text: Text = "",
    note: Text = "",
) -> Response:
    request.state.typed = text
    samples.decide(desk.store, key, who, status, text, note, seen, desk.plan, desk.clock())
    return go("/samples")


@router.post("/{key}/skip", dependencies=[Signed])
def skip(request: Request, desk: TheDesk, who: Worker, key: str, seen: Seen, text: Text = "") -> Response:
    request.state.typed = text
    return put_off(desk, who, key, seen, "/samples")


def put_off(desk: Desk, who: Who, key: str, seen: int, back: str) -> Response:
    """Skip an item, in any room."""
    with desk.store.writing() as connection:
        queue.skip(connection, queue.unchanged(connection, key, seen), who, desk.clock())
    return go(back)


@router.post("/undo", dependencies=[Signed])
def undo(desk: TheDesk, who: Worker) -> Response:
    item = samples.undo(desk.store, who, desk.plan, desk.clock())
    return go(f"/samples?item={item.key}" if item else "/samples")
