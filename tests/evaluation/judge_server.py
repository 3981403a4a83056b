"""A double of an OpenAI-compatible server on the loopback address, faithful in form; a function says what it says."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "judge-1"
BLOCK = re.compile(r"^BEGIN ([0-9a-f]{24}) (conversation|reply A|reply B)\n(.*?)\nEND \1 \2$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Raw:
    """A response that is no chat completion; `hangs` sends nothing until the server ends."""

    status: int = 200
    body: bytes = b""
    hangs: bool = False
    drips: bool = False  # a byte at a time, never done
    promised: int | None = None  # bytes, where the body breaks off before its Content-Length


Says = Callable[[str, str, str], "str | Raw"]  # of conversation, reply A, reply B


@dataclass
class Double:
    says: Says
    digest: str | None = None  # told as Ollama does
    window: int | None = None  # told as llama.cpp does
    key: str | None = None
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)


def shown(body: dict[str, Any]) -> tuple[str, str, str]:
    """Conversation and replies as a reader of the prompt finds them: each stands there once."""
    system, user = (message["content"] for message in body["messages"])
    found = BLOCK.findall(user)
    assert [name for _, name, _ in found] == ["conversation", "reply A", "reply B"]
    (mark,) = {mark for mark, _, _ in found}
    assert (system.count(mark), user.count(mark)) == (2, 6)
    return found[0][2], found[1][2], found[2][2]


def verdict(better: str, reason: str = "It is shorter.") -> str:
    return json.dumps({"better": better, "reason": reason})


def shorter(context: str, a: str, b: str) -> str:
    return verdict("tie" if len(a) == len(b) else "A" if len(a) < len(b) else "B")


@contextmanager
def serving(double: Double) -> Iterator[Double]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/api/tags" and double.digest is not None:
                self.answer(200, {"models": [{"name": MODEL, "digest": double.digest}]})
            elif self.path == "/props" and double.window is not None:
                self.answer(200, {"default_generation_settings": {"n_ctx": double.window}})
            elif self.path == "/v1/models":
                self.answer(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
            else:
                self.refuse(404, "not found")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/chat/completions":
                self.refuse(404, "not found")
            elif double.key and self.headers.get("Authorization") != f"Bearer {double.key}":
                self.refuse(401, "wrong key")
            elif body.get("model") != MODEL:
                self.refuse(404, f"no model {body.get('model')!r}")
            else:
                double.bodies.append(body)
                self.say(double.says(*shown(body)))

        def say(self, said: str | Raw) -> None:
            if isinstance(said, str):
                choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
                usage = {"prompt_tokens": 9, "completion_tokens": len(said.split()), "total_tokens": 9}
                self.answer(200, {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})
            elif said.hangs:
                double.ending.wait(30)
                self.close_connection = True
            else:
                self.send(said.status, said.body, said.promised)

        def refuse(self, status: int, message: str) -> None:
            self.answer(status, {"error": {"message": message, "type": "invalid_request_error"}})

        def answer(self, status: int, value: Any) -> None:
            self.send(status, json.dumps(value).encode(), None)

        def send(self, status: int, body: bytes, promised: int | None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(promised or len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = promised is not None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield double
    finally:
        double.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()
