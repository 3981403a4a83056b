"""The HTTP side: routes, bodies, NDJSON, and the faults that happen on a connection (server/routes.go, with gin)."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from tests.release.ollama_double import answers, compatible, models, names
from tests.release.ollama_double.create import create
from tests.release.ollama_double.faults import Drips, Drops, Fails, Hangs, LosesBlob, LosesModel, ShowsOther
from tests.release.ollama_double.go_text import Refused, shown, to_json, told

if TYPE_CHECKING:
    from tests.release.ollama_double import OllamaDouble, Request

PIECE = 2**16  # bytes
JSON = "application/json; charset=utf-8"
ROUTES = {
    "/": ("GET", "HEAD"), "/api/version": ("GET", "HEAD"), "/api/tags": ("GET", "HEAD"), "/api/ps": ("GET",),
    "/api/show": ("POST",), "/api/copy": ("POST",), "/api/delete": ("DELETE",), "/api/create": ("POST",),
    "/api/chat": ("POST",), "/api/generate": ("POST",), "/api/pull": ("POST",), "/api/push": ("POST",),
    "/api/embed": ("POST",), "/api/embeddings": ("POST",), "/v1/chat/completions": ("POST",),
}  # fmt: skip
TYPES: dict[str, type] = {  # of the fields that decoding checks; other keys are passed over
    "model": str, "name": str, "from": str, "source": str, "destination": str, "template": str, "system": str,
    "prompt": str, "suffix": str, "quantize": str, "files": dict, "adapters": dict, "parameters": dict, "options": dict,
    "messages": list, "stream": bool, "raw": bool, "truncate": bool, "verbose": bool, "_debug_render_only": bool,
}  # fmt: skip
GO_TYPES = {str: "string", dict: "map[string]interface {}", list: "[]api.Message", bool: "bool"}


class Broken(ConnectionError):  # noqa: N818 - the end of a conversation, not a mistake
    """The connection is gone, by the client's hand or by a fault's."""


class Handler(BaseHTTPRequestHandler):
    """One connection. `double` is set in the class that the server is started with."""

    protocol_version = "HTTP/1.1"
    double: OllamaDouble
    entry: Request

    def log_message(self, *arguments: Any) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.double.connections.add(self.connection)

    def finish(self) -> None:
        self.double.connections.discard(self.connection)
        super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_DELETE = do_PUT = do_OPTIONS = do_GET  # noqa: N815 - names of http.server

    def _serve(self) -> None:
        path = self.path.partition("?")[0]
        self.entry = self.double.begin(self.command, path)
        self.unread = self._body()
        try:
            fault = self.double.fault
            if isinstance(fault, Hangs | Fails) and self.double.strikes(fault, self.entry):
                self._read()
                if isinstance(fault, Hangs):
                    self.double.hang(fault)
                    raise Broken
                raise Refused(fault.message, fault.status)
            self._route(path)
        except Refused as refused:
            self._send(refused.status, {"error": refused.message})
        except OSError as error:
            if isinstance(error, ConnectionError):
                self._reset()
            else:
                self._send(500, {"error": told(error)})
        for _ in () if self.close_connection else self.unread:
            pass

    def _route(self, path: str) -> None:
        if not self._allowed_host():
            self._send(403, None)
        elif path.startswith("/api/blobs/") and path.count("/") == 3:
            if self.command not in ("POST", "HEAD"):
                return self._plain(405, "405 method not allowed")
            self._blob(path.rpartition("/")[2])
        elif path not in ROUTES:
            self._plain(404, "404 page not found")
        elif self.command not in ROUTES[path]:
            self._plain(405, "405 method not allowed")
        elif path == "/":
            self._plain(200, "Ollama is running")
        elif self.command in ("GET", "HEAD"):
            self._send(200, self._told(path))
        else:
            self._asked(path, self._json())
        return None

    def _told(self, path: str) -> dict[str, Any]:
        match path:
            case "/api/version":
                return {"version": self.double.how.version}
            case "/api/tags":
                return models.tags(self.double.store, self.double.how)
        return self.double.runners.ps()

    def _asked(self, path: str, body: dict[str, Any]) -> None:
        here = self.double
        match path:
            case "/api/show":
                reply = models.show(here.store, here.how, body)
                if isinstance(here.fault, ShowsOther):
                    reply["parameters"] = _with_other(reply.get("parameters", ""), here.fault)
                self._send(200, reply)
            case "/api/copy":
                with here.changing:
                    self._copy(body)
            case "/api/delete":
                with here.changing:
                    self._delete(body)
            case "/api/create":
                with here.changing:
                    self._stream(create(here.store, here.how, body), body.get("stream") is not False)
            case "/api/chat" | "/api/generate":
                answer = (answers.chat if path == "/api/chat" else answers.generate)(here.answering, body)
                if isinstance(answer, dict):
                    self._send(200, answer)
                else:
                    self._stream(answer, True)
            case "/v1/chat/completions":
                self._send(200, compatible.chat(here.answering, body))
            case _:
                raise Refused(f"this double of Ollama has no {path}", 501)

    def _before_last_word(self) -> None:
        fault = self.double.fault
        if isinstance(fault, LosesModel) and self.double.strikes(fault, self.entry):
            self.double.forget(fault.name)

    def _copy(self, body: dict[str, Any]) -> None:
        found = []
        for key in ("source", "destination"):
            name = names.parse(body.get(key) or "")
            if not name.valid:
                raise Refused(f'{key} "{body.get(key) or ""}" is invalid', 400)
            found.append(names.existing(name, self.double.store.manifests()))
        source, destination = found
        if source != destination:
            try:
                manifest = self.double.store.manifest(source)
            except FileNotFoundError:
                raise Refused(f'model "{body["source"]}" not found', 404) from None
            # A copy's manifest is the same bytes: both names have one digest.
            layers = [replace(layer, status="") for layer in manifest.layers]
            self.double.store.write_manifest(destination, manifest.config, layers)
        self._send(200, None)

    def _delete(self, body: dict[str, Any]) -> None:
        wanted = body.get("model") or body.get("name") or ""
        name = names.parse(wanted)
        if not name.valid:
            raise Refused(f'name "{wanted}" is invalid', 400)
        try:
            manifest = self.double.store.manifest(names.existing(name, self.double.store.manifests()))
        except FileNotFoundError:
            raise Refused(f"model '{wanted}' not found", 404) from None
        self.double.store.remove(manifest)
        self._send(200, None)

    def _blob(self, digest: str) -> None:
        """An upload is kept under the digest of what came; one of another digest is refused, and kept all the same."""
        try:
            blob = self.double.store.blob(digest)
        except Refused as refused:
            raise Refused(refused.message, 400) from refused
        if self.command == "HEAD":
            status = 200 if blob.exists() else 404
            return self._send(status, None if blob.exists() else {"error": f'blob "{digest}" not found'})
        if blob.exists():
            return self._send(200, None)
        layer = self.double.store.new_layer(self.unread, "")
        if layer.digest != digest:
            raise Refused(f'digest mismatch, expected "{digest}", got "{layer.digest}"', 400)
        if isinstance(self.double.fault, LosesBlob):
            blob.unlink()
        return self._send(201, None)

    def _allowed_host(self) -> bool:
        """No name but these leads to a server on the loopback address (allowedHostsMiddleware)."""
        host = re.sub(r":\d+$", "", self.headers.get("Host", "")).lower().strip("[]")
        if host in ("", "localhost", socket.gethostname().lower()):
            return True
        if host.endswith((".localhost", ".local", ".internal")):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or address.is_private or address.is_unspecified

    def _body(self) -> Iterator[bytes]:
        """The request's body as it comes, in either of HTTP's two ways. Raises: Broken: it does not come whole."""
        fault = self.double.fault
        drops = isinstance(fault, Drops) and fault.of == "request" and self.double.strikes(fault, self.entry)
        for piece in self._pieces():
            self.entry.n_bytes += len(piece)
            if drops and isinstance(fault, Drops) and self.entry.n_bytes >= fault.after_bytes:
                raise Broken
            yield piece

    def _pieces(self) -> Iterator[bytes]:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            yield from self._exactly(int(self.headers.get("Content-Length") or 0))
            return
        while True:
            line = self.rfile.readline(100)
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError as error:
                raise Broken from error
            yield from self._exactly(size)
            self.rfile.readline(100)
            if size == 0:
                return

    def _exactly(self, n_bytes: int) -> Iterator[bytes]:
        while n_bytes:
            piece = self.rfile.read(min(n_bytes, PIECE))
            if not piece:
                raise Broken
            n_bytes -= len(piece)
            yield piece

    def _read(self) -> bytes:
        return b"".join(self.unread)

    def _json(self) -> dict[str, Any]:
        data = self._read()
        if not data.strip():
            raise Refused("missing request body", 400)
        try:
            body = json.loads(data)
        except ValueError as error:
            raise Refused(f"invalid character in request body: {error}", 400) from error
        self.entry.body = body
        if not isinstance(body, dict):
            raise Refused(f"json: cannot unmarshal {_json_type(body)} into Go value of type api.Request", 400)
        for key, value in body.items():
            if key in TYPES and value is not None and not isinstance(value, TYPES[key]):
                what = f"Go struct field .{key} of type {GO_TYPES[TYPES[key]]}"
                raise Refused(f"json: cannot unmarshal {_json_type(value)} into {what}", 400)
        return {key: value for key, value in body.items() if value is not None}

    def _plain(self, status: int, text: str) -> None:
        self._head(status, "text/plain; charset=utf-8", len(text))
        self._write(text.encode())

    def _send(self, status: int, value: Any) -> None:
        if status == 200:
            self._before_last_word()
        data = b"" if value is None else to_json(value).encode()
        self._head(status, JSON if data else "", len(data))
        self._write(data)

    def _stream(self, items: Iterator[dict[str, Any]], streams: bool) -> None:
        """A line a piece, or only the last. An error has its own status only where nothing was sent before it."""
        sent, last = False, None
        try:
            for item in items:
                last = item
                if streams:
                    if item.get("done") or item.get("status") == "success":
                        self._before_last_word()
                    if not sent:
                        self._head(200, "application/x-ndjson", None)
                        sent = True
                    self._chunk((to_json(item) + "\n").encode())
        except Refused as refused:
            if not sent:
                raise
            self._chunk((to_json({"error": refused.message}) + "\n").encode())
        except ConnectionError:
            # The work goes on until it has something more to say, and then waits for ever for somebody to hear it.
            with contextlib.suppress(Refused):
                next(items, None)
            raise
        finally:
            items.close()  # type: ignore[attr-defined]
        if sent:
            self._write(b"0\r\n\r\n")
        else:
            self._send(200, last if last is not None else {"status": ""})

    def _head(self, status: int, content_type: str, length: int | None) -> None:
        self.entry.status = status
        self.sent = 0
        self.send_response_only(status)
        self.send_header("Date", self.date_time_string())
        if content_type:
            self.send_header("Content-Type", content_type)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        fault = self.double.fault
        strikes = isinstance(fault, Drops | Drips) and self.double.strikes(fault, self.entry)
        self.spoilt = fault if strikes else None

    def _chunk(self, data: bytes) -> None:
        self._write(data, f"{len(data):x}\r\n".encode(), b"\r\n")

    def _write(self, data: bytes, before: bytes = b"", after: bytes = b"") -> None:
        if self.command == "HEAD":
            return
        fault = self.spoilt
        if isinstance(fault, Drops) and fault.of == "reply" and self.sent + len(data) >= fault.after_bytes:
            self.wfile.write(before + data[: fault.after_bytes - self.sent])
            raise Broken
        self.sent += len(data)
        data = before + data + after
        if not isinstance(fault, Drips):
            self.wfile.write(data)
            return
        for start in range(0, len(data), fault.n_bytes):
            self.wfile.write(data[start : start + fault.n_bytes])
            self.double.ending.wait(fault.seconds)

    def _reset(self) -> None:
        """Close at once, with a reset rather than an end, whatever is still under way."""
        self.close_connection = True
        try:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            return


def _json_type(value: Any) -> str:
    kinds = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
    return kinds.get(type(value), "null")


def _with_other(parameters: str, fault: ShowsOther) -> str:
    kept = [line for line in parameters.splitlines() if line.split()[0] != fault.parameter]
    values = [] if fault.value is None else fault.value if isinstance(fault.value, list) else [fault.value]
    return "\n".join([*kept, *(f"{fault.parameter:<30} {shown(value, quoted=True)}" for value in values)])
