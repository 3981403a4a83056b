"""Where production sends answers and opinions: two addresses behind a token, over HTTP."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from joshi.errors import JoshiError, PlanError
from joshi.memory import open_memory
from joshi.monitoring.heard import Given, Opinion, keep
from joshi.plan import Plan
from joshi.release.releases import in_use_or_none
from joshi.workspace import Workspace

LOG = logging.getLogger("joshi")
MOST_BYTES = 1 << 20  # of one request
SHORTEST_TOKEN = 16  # characters


def listen(
    plan: Plan, workspace: Workspace, port: int | None = None, environment: Mapping[str, str] = os.environ
) -> None:
    """Take answers and opinions at the plan's host and feedback_port until Ctrl-C.

    Raises:
        PlanError: no token, or one that could be guessed.
    """
    name = plan.monitoring.token.removeprefix("env:")
    token = environment.get(name, "").strip()
    if len(token) < SHORTEST_TOKEN:
        raise PlanError(
            f"the environment variable {name} must hold a token of {SHORTEST_TOKEN} characters or more, which callers "
            "send; make one with: openssl rand -hex 24"
        )
    host, port = plan.release.host, port or plan.monitoring.feedback_port
    LOG.info("feedback is taken at http://%s:%d/feedback, answers at /answers", host, port)
    uvicorn.run(application(plan, workspace, token), host=host, port=port, log_level="warning", access_log=False)


def application(plan: Plan, workspace: Workspace, token: str) -> FastAPI:
    """POST /feedback and POST /answers, with "Authorization: Bearer TOKEN"; nothing is ever read back."""
    app = FastAPI(title="Joshi", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        sent = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(sent, f"Bearer {token}".encode()):
            return JSONResponse({"error": "send the token: Authorization: Bearer TOKEN"}, 401)
        size = request.headers.get("content-length", "")
        if not size.isdecimal() or int(size) > MOST_BYTES:
            return JSONResponse({"error": f"a request has a Content-Length of at most {MOST_BYTES} bytes"}, 413)
        return await go_on(request)

    @app.exception_handler(RequestValidationError)
    async def explain(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)  # never the value: it may be a message

    @app.exception_handler(JoshiError)
    async def refuse(_: Request, error: JoshiError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.post("/answers", status_code=201)
    def answers(given: Given) -> dict[str, str]:
        return {"id": keep(given, _release(workspace), plan, workspace).id}

    @app.post("/feedback", status_code=201)
    def feedback(opinion: Opinion) -> dict[str, str]:
        return {"id": take(opinion, plan, workspace)}

    return app


def take(opinion: Opinion, plan: Plan, workspace: Workspace) -> str:
    """Store an opinion and tell the memory of it, without a word of any text; its id.

    Raises:
        JoshiError: as `joshi.monitoring.heard.keep`.
    """
    heard = keep(opinion, _release(workspace), plan, workspace)
    told: dict[str, Any] = {
        "sentiment": "positive" if heard.verdict == "good" else "negative",
        "workflow_id": heard.workflow_id,
        "summary": f"an answer of {heard.agent or 'an agent'} was found {heard.verdict}"
        + (", and a better one was given" if heard.better else ""),
        "release": heard.release,
        "agent": heard.agent,
    }
    try:
        with open_memory(plan, workspace) as memory:
            memory.record("feedback", created_at=heard.at, **told)
    except JoshiError as error:  # the opinion is stored
        LOG.warning("the memory was not told: %s", error)
    return heard.id


def _release(workspace: Workspace) -> str | None:
    release = in_use_or_none(workspace)
    return release.id if release else None
