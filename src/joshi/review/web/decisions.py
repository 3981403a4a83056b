"""Who decided what: a reviewer's own decisions, all of them for specialists and auditors, the log for auditors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from joshi.errors import JoshiError
from joshi.review import log, queue
from joshi.review.exchange import event_lines
from joshi.review.log import BLIND_ROOM, Event, Who, moment
from joshi.review.web.desk import Forbidden, Reviewer, Signed, TheDesk, Worker, go

router = APIRouter()
PAGE = 50  # events on a page


@router.get("/decisions")
def page(desk: TheDesk, who: Reviewer, before: int | None = None) -> HTMLResponse:
    """The newest events, those before an event's number further back."""
    with desk.store.reading() as connection:
        found = log.newest(connection, None if who.role != "annotator" else who.name, before, PAGE + 1)
        rows = [_row(event, who) for event in found[:PAGE]]
    older = found[PAGE - 1]["number"] if len(found) > PAGE else None
    return desk.page("decisions.html.j2", who=who, room="decisions", rows=rows, older=older)


def _row(event: dict[str, Any], who: Who) -> dict[str, Any]:
    """An event as the page tells it. A blind one shows nothing but that it was: the sides are for the room to tell."""
    blind = event["room"] == BLIND_ROOM
    body = event["body"]
    told = {"decided": body.get("status", ""), "undone": "taken back"}.get(event["kind"], event["kind"])
    if body.get("edited") and told == "approved":
        told = "edited and approved"
    may = who.role == "specialist" and event["kind"] == "decided" and not blind
    texts = {"before": None, "after": None} if blind else {name: event[name] for name in ("before", "after")}
    item = "a comparison" if blind else event["item"]
    return event | texts | {"item": item, "told": told, "may_reopen": may, "at": event["at"][:19].replace("T", " ")}


@router.post("/decisions/{number}/reopen", dependencies=[Signed])
def reopen(desk: TheDesk, who: Worker, number: int, form_token: Annotated[str, Form()]) -> Response:
    """Set aside all decisions on an item so far: it is open again. For specialists."""
    if who.role != "specialist":
        raise Forbidden("only a specialist may reopen an item; ask one")
    at = desk.clock()
    with desk.store.writing() as connection:
        event = log.numbered(connection, number)
        if event is None or event.room == BLIND_ROOM or event.kind != "decided":
            raise JoshiError("this cannot be reopened; go back to the decisions")
        item = queue.of(connection, event.room, event.item)
        back = Event(item.room, item.item, who.name, "reopened", moment(at), who.login, item.item_sha256)
        queue.record(connection, item, back, desk.plan)
    return go("/decisions")


@router.get("/export.jsonl")
def export(desk: TheDesk, who: Reviewer) -> StreamingResponse:
    """Every event as JSON Lines, for auditors."""
    if who.role != "auditor":
        raise Forbidden("only auditors export the log; ask one")

    def lines() -> Iterator[str]:
        with desk.store.reading() as connection:
            yield from event_lines(connection)

    headers = {"Content-Disposition": 'attachment; filename="review-events.jsonl"'}
    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=headers)
