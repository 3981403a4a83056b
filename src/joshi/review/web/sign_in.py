"""Log-in, log-out, and the first page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response

from joshi.review import accounts
from joshi.review.log import BLIND_ROOM, PREFERENCES, SAMPLES
from joshi.review.progress import count as count_of
from joshi.review.rooms import blind
from joshi.review.web.desk import COOKIE, LoggedOut, Reviewer, Signed, TheDesk, go, reviewer

router = APIRouter()


@router.get("/")
def home(desk: TheDesk, who: Reviewer) -> Response:
    """The three rooms and how far they are."""
    if who.role == "auditor":
        return go("/decisions")
    desk.catch_up()
    at = desk.clock()
    with desk.store.reading() as connection:
        counts = {room: count_of(connection, room, who, at) for room in (SAMPLES, PREFERENCES, BLIND_ROOM)}
        session = blind.newest(connection)
        finished = session is not None and blind.has_finished(connection, session, who.name)
    closed = session is None or session.closed_at is not None
    return desk.page("home.html.j2", who=who, room="", counts=counts, finished=finished, closed=closed)


@router.get("/login")
def ask(request: Request, desk: TheDesk) -> Response:
    try:
        reviewer(request, desk)
    except LoggedOut:
        return desk.page("login.html.j2", room="", wrong="")
    return go("/")


@router.post("/login")
def log_in(request: Request, desk: TheDesk, token: Annotated[str, Form(max_length=1000)]) -> Response:
    address = request.client.host if request.client else "unknown"
    with desk.store.writing() as connection:
        cookie = accounts.log_in(connection, token, desk.plan.review.session_hours, address, desk.clock())
    if cookie is None:
        return _refused(desk)
    answer = go("/")
    answer.set_cookie(
        COOKIE, cookie, max_age=int(desk.plan.review.session_hours * 3600), path="/", secure=desk.secure,
        httponly=True, samesite="strict",
    )  # fmt: skip
    return answer


def _refused(desk: TheDesk) -> HTMLResponse:
    wrong = "No reviewer has this token. It was shown once, by 'joshi review add-reviewer'."
    return desk.page("login.html.j2", 403, room="", wrong=wrong)


@router.post("/logout", dependencies=[Signed])
def log_out(request: Request, desk: TheDesk, who: Reviewer) -> Response:
    with desk.store.writing() as connection:
        accounts.log_out(connection, request.cookies[COOKIE], who)
    answer = go("/login")
    answer.delete_cookie(COOKIE, path="/", secure=desk.secure, httponly=True, samesite="strict")
    return answer
