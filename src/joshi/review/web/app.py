"""The application: its pages, and how it says that something went wrong without losing what was typed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from joshi.errors import JoshiError, Unavailable
from joshi.review.accounts import TooManyAttempts
from joshi.review.queue import Taken
from joshi.review.store import StoreFault
from joshi.review.web import blind, decisions, preferences, samples, sign_in
from joshi.review.web.desk import Desk, Forbidden, LoggedOut, go
from joshi.review.web.security import MOST_BYTES, Guard

LOG = logging.getLogger("joshi")
STATUS = {
    LoggedOut: 401, Forbidden: 403, Taken: 409, TooManyAttempts: 429, StoreFault: 503, Unavailable: 503,
}  # fmt: skip
REFUSED = 422


def make_app(desk: Desk, hosts: Collection[str]) -> FastAPI:
    """The review room as an ASGI application that answers for these host names alone."""
    app = FastAPI(openapi_url=None, form_limits={"max_part_size": MOST_BYTES, "max_files": 0, "max_fields": 100})
    app.state.desk = desk
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    for part in (sign_in, samples, preferences, blind, decisions):
        app.include_router(part.router)
    for kind in (JoshiError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _teller(desk))
    app.add_middleware(Guard, hosts=hosts, secure=desk.secure)
    return app


def _teller(desk: Desk) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Say what went wrong in a sentence: in the page that htmx keeps, or on a page with what was typed."""

    async def tell(request: Request, error: Exception) -> Response:
        status, sentence = _explained(error)
        by_htmx = request.headers.get("hx-request") == "true"
        if status == 401 and not by_htmx:
            return go("/login")
        if status == 500:
            LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
        name = "notice.html.j2" if by_htmx else "error.html.j2"
        typed = getattr(request.state, "typed", "")
        answer = desk.page(name, status, room="", status=status, sentence=sentence, typed=typed)
        if status == 429:
            answer.headers["Retry-After"] = "60"
        return answer

    return tell


def _explained(error: Exception) -> tuple[int, str]:
    match error:
        case JoshiError():
            return next((n for kind, n in STATUS.items() if isinstance(error, kind)), REFUSED), str(error)
        case RequestValidationError():
            first = error.errors()[0]
            field = str(first["loc"][-1]).replace("_", " ")
            return REFUSED, f"{field} is missing or wrong in what was sent; fill it in and try again"
        case HTTPException(status_code=404):
            return 404, "there is no such page; the rooms are on the first page"
        case HTTPException():
            return error.status_code, f"{error.detail}; go back and try again"
        case _:
            return 500, "this is a fault in Joshi; what was shown as saved is kept; the terminal says more"
