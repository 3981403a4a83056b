"""A double of an Ollama server, to test against where no Ollama can run; real llama.cpp answers behind it.

What it does was taken from Ollama's public documentation (docs/api.md, docs/modelfile.mdx) and source (in server/:
routes, create, model, images, prompt, sched; manifest/, template/, types/model/name.go, api/types.go and
llm/llama_server.go), at versions 0.17.1 and 0.33 (August 2026). `behaviour.py` lists what differs between versions.

Modelled: the root, version, tags, show, ps, copy, delete, blobs, create (`from`, `files`, `adapters`, template, system,
parameters, license, messages; streaming or not), chat and generate (raw, template, system, suffix, options, format,
stream, keep_alive, truncate, _debug_render_only); names and their defaults; blobs and manifests on disk, what is pruned
and when; layers shared between models; the template that is guessed for a GGUF without one; prompts cut without a word;
options that are checked only when a model answers; errors before and inside a stream.

Left out, and refused with 501 where a request asks for it: pull, push and embeddings; tools, images, log-probs and the
deprecated `context` of generate; quantising and safetensors in create. Left out silently: streams and all but chat
under /v1, cloud models (`:cloud`), thinking, renderers and parsers of single model families, projectors and split
GGUFs, draft models, answers that outgrow the window (Ollama shifts it, here they end), keys of a JSON object in other
case, and the exact words of errors in JSON. `from` a model that is not here asks a registry that has none. Memory never
runs short: as many models stay loaded as were asked for.

    with OllamaDouble(tmp_path) as server:
        client = ollama.Client(server.url)
        server.fault = Drops("POST /api/blobs", after_bytes=1000, of="request")
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.release.ollama_double import names
from tests.release.ollama_double.answers import Answering
from tests.release.ollama_double.behaviour import Adapters, behaviour
from tests.release.ollama_double.faults import (
    DiskFull,
    Drips,
    Drops,
    Fails,
    Fault,
    Hangs,
    LosesBlob,
    LosesModel,
    Misrenders,
    Mute,
    ShowsOther,
    subtly_other,
)  # fmt: skip
from tests.release.ollama_double.handler import Handler
from tests.release.ollama_double.runners import Runners
from tests.release.ollama_double.store import Store

__all__ = [
    "DiskFull", "Drips", "Drops", "Fails", "Fault", "Hangs", "LosesBlob", "LosesModel", "Misrenders", "Mute",
    "OllamaDouble", "Request", "ShowsOther", "subtly_other",
]  # fmt: skip


@dataclass
class Request:
    """A request as it came: its JSON if it had one, its body's bytes, and the status, none while it has no answer."""

    method: str
    path: str
    body: Any = None
    n_bytes: int = 0
    status: int | None = None


class OllamaDouble:
    """A server on a free port of the loopback address, for as long as the block lasts.

    Args:
        folder: its models, as OLLAMA_MODELS; another server on the same folder finds them again.
        version: what it says it is, and behaves like.
        rewrites: whether uploaded models are stored under another digest; none: as the version does, from 0.30.0 on.
        adapters: "taken", "refused" or "ignored"; none: refused from 0.34.1 on.
        threads: of llama.cpp; 0: all physical cores.

    Attributes:
        url: where it listens; the same for as long as the object is used, also after `restart`.
        log: every request, in the order in which they came.
        prompts: what llama.cpp was given to read, a text, or tokens where a prompt was cut.
    """

    def __init__(
        self,
        folder: Path,
        version: str = "0.33.0",
        *,
        rewrites: bool | None = None,
        adapters: Adapters | None = None,
        threads: int = 0,
    ) -> None:
        self.folder, self.how = folder, behaviour(version, rewrites, adapters)
        self.log: list[Request] = []
        self.prompts: list[str | list[int]] = []
        self.connections: set[socket.socket] = set()
        self.changing = threading.RLock()  # one create, copy or delete at a time
        self._threads, self._port = threads, 0
        self._fault: Fault | None = None
        self._struck = 0
        self._counting = threading.Lock()

    def __enter__(self) -> OllamaDouble:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def fault(self) -> Fault | None:
        """What goes wrong from now on; setting it, also to none, ends the one before and counts requests anew."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        with self._counting:
            self._fault, self._struck = fault, 0
        self.store.room = fault.after_bytes if isinstance(fault, DiskFull) else None

    def start(self) -> None:
        self.store = Store(self.folder)
        self.store.prune(self.how.grace)
        self.runners = Runners(self.how, self._threads)
        self.ending = threading.Event()
        self.answering = Answering(
            self.store, self.how, self.runners, self.prompts, self._misrendered, lambda: isinstance(self.fault, Mute)
        )
        self.fault = self._fault
        handler = type("DoubleHandler", (Handler,), {"double": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._server.daemon_threads = True
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """As if killed: open connections are cut and loaded models go."""
        self.ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.runners.loaded.clear()

    def restart(self) -> None:
        """Stop, and start at the same address; blobs that no model uses are pruned as the version does."""
        self.stop()
        self.start()

    def forget(self, name: str) -> None:
        """Delete a model, if it is there, as somebody else would, without a request."""
        with self.changing, contextlib.suppress(FileNotFoundError):
            self.store.remove(self.store.manifest(names.parse(name)))

    def begin(self, method: str, path: str) -> Request:
        request = Request(method, path)
        self.log.append(request)
        return request

    def strikes(self, fault: Hangs | Fails | Drops | Drips | LosesModel, request: Request) -> bool:
        """Whether this request is one that the fault is meant for."""
        if not f"{request.method} {request.path}".startswith(fault.route):
            return False
        with self._counting:
            self._struck += 1
            return not isinstance(fault, Fails) or fault.nth in (0, self._struck)

    def hang(self, fault: Hangs) -> None:
        while self.fault is fault and not self.ending.wait(0.02):
            pass

    def _misrendered(self, prompt: str) -> str:
        return self.fault.change(prompt) if isinstance(self.fault, Misrenders) else prompt
