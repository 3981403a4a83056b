"""What every request must bring and every answer carries: the right host and origin, a size, a strict policy."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 16 * 2**20  # of a request: a text of 1 MB, every character of it escaped, and as much again
LOCAL = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
TOO_LONG = "the text is too long; send less than 16 MB"
_SAFE = ("GET", "HEAD", "OPTIONS")


class _TooLarge(Exception):  # noqa: N818 - it describes the request
    """The body of a request went on past MOST_BYTES."""


class Guard:
    """Refuses requests for other hosts (DNS rebinding), from other origins and of other sizes; adds the headers."""

    def __init__(self, app: ASGIApp, hosts: Collection[str], secure: bool) -> None:
        self._app = app
        self._hosts = {host.casefold() for host in hosts}
        self._headers = HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                if scope["path"].startswith("/static/"):
                    headers["Cache-Control"] = "no-cache"
            await send(message)

        n_bytes = 0

        async def counted() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > MOST_BYTES:
                raise _TooLarge
            return message

        if refusal := self._refuse(scope):
            await refusal(scope, receive, with_headers)
            return
        try:
            await self._app(scope, counted, with_headers)
        except _TooLarge:
            if not started:
                await _no(413, TOO_LONG)(scope, receive, with_headers)

    def _refuse(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            return _no(421, "this host name is not the review room's; add it to joshi.toml: [review] names")
        if scope["method"] in _SAFE:
            return None
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > MOST_BYTES:  # before a page that reads no body answers otherwise
            return _no(413, TOO_LONG)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.casefold() != host.casefold():
            return _no(403, "this request came from another site; it was not carried out")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _no(403, "this request came from another site; it was not carried out")
        return None


def _name(host: str) -> str:
    """The host without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").casefold()
    except ValueError:
        return ""


def _no(status: int, sentence: str) -> PlainTextResponse:
    return PlainTextResponse(sentence + "\n", status)
