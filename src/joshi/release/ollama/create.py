"""Make a model in Ollama: its files by their digest, then its template, system prompt and parameters, then a look at
what Ollama made of them.

Ollama checks a blob against its digest but writes the model's own file anew, so its digest need not be ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import ollama

from joshi.base.gguf_file import GgufFile
from joshi.errors import JoshiError
from joshi.export.modelfile import Serving
from joshi.progress import Progress
from joshi.release.ollama import Server, talking

PIECE = 1 << 20  # bytes of a file sent at a time
TRIES = 3  # of one upload; Ollama keeps nothing of one that broke off


@dataclass(frozen=True)
class Weights:
    """The model's own file, or the name of Ollama's base with an adapter's file on top."""

    file: Path
    sha256: str
    base: str | None = None


def create(server: Server, name: str, weights: Weights, how: Serving, progress: Progress) -> None:
    """Upload what Ollama lacks and make the model `name`.

    Raises:
        JoshiError: Ollama refuses the files or the request.
        Unavailable: it is gone or hangs.
    """
    upload(server, weights.file, weights.sha256, progress)
    files = {weights.file.name: f"sha256:{weights.sha256}"}
    source: dict[str, Any] = {"from_": weights.base, "adapters": files} if weights.base else {"files": files}
    said = ""
    with talking(server.url, f"making {name}"):
        steps = server.client.create(
            name, template=how.template, system=how.system, parameters=how.parameters, stream=True, **source
        )
        for step in steps:  # an error comes as a line of a response that began well; the client raises it
            said = step.status or said
    if said != "success":
        raise JoshiError(f"Ollama at {server.url} ended making {name} with {said!r}, not success; nothing was switched")


def upload(server: Server, path: Path, sha256: str, progress: Progress) -> None:
    """Send a file that Ollama does not have yet; one that breaks off is sent again from its start.

    Raises:
        JoshiError: Ollama got other bytes than the digest says.
        Unavailable: it is gone, hangs, or its disk is full.
    """
    url, blob, about = server.url, f"{server.url}/api/blobs/sha256:{sha256}", f"the upload of {path.name}"
    with talking(url, about):
        if httpx.head(blob, timeout=server.timeout).status_code == 200:
            return
    for left in reversed(range(TRIES)):
        try:
            with progress.bar(f"uploading {path.name}", path.stat().st_size) as advance, talking(url, about):
                answer = httpx.post(blob, content=_pieces(path, advance), timeout=server.timeout)
                if answer.is_error:
                    raise ollama.ResponseError(answer.text, answer.status_code)
                return
        except JoshiError as error:
            if left == 0 or not isinstance(error.__cause__, httpx.TransportError):
                raise
            progress.warn(f"{error}; sending it again")


def _pieces(path: Path, advance: Any) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
            advance(len(piece))


def differences(server: Server, name: str, how: Serving, file: GgufFile) -> list[str]:
    """What Ollama says of the model that is not what it was told, in words.

    Raises:
        JoshiError: Ollama does not know the model.
        Unavailable: it is gone or hangs.
    """
    with talking(server.url, f"showing {name}"):
        answer = httpx.post(f"{server.url}/api/show", json={"model": name}, timeout=server.timeout)
        if answer.is_error:
            raise ollama.ResponseError(answer.text, answer.status_code)
        shown = answer.json()
    if not isinstance(shown, dict):
        return [f"it is described by {str(shown)[:60]!r}"]
    wanted: dict[str, Any] = {"template": how.template, "system": how.system}
    found: dict[str, Any] = {key: shown.get(key) or "" for key in wanted}
    wanted |= how.parameters
    found |= _parameters(str(shown.get("parameters") or ""))
    facts = shown.get("model_info")
    known = facts if isinstance(facts, dict) else {}
    wanted |= {key: value for key, value in _shape(file).items() if key in known or key == "general.architecture"}
    found |= known
    return [
        f"{key} is {_brief(found.get(key))}, not {_brief(value)}"
        for key, value in wanted.items()
        if not _same(found.get(key), value)
    ]


def _shape(file: GgufFile) -> dict[str, Any]:
    """The numbers of the model's metadata, which Ollama keeps as they are."""
    names = ("block_count", "context_length", "embedding_length", "feed_forward_length")
    shape = {f"{file.architecture}.{name}": file.value(f"{file.architecture}.{name}") for name in names}
    return {"general.architecture": file.architecture} | {k: v for k, v in shape.items() if v is not None}


def _parameters(text: str) -> dict[str, Any]:
    """Ollama lists a parameter a line, and a list's value each on its own; texts in Go's quotation marks."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        try:
            read = json.loads(value.strip())
        except ValueError:
            read = value.strip()
        if name == "stop":
            found.setdefault(name, []).append(read)
        elif name:
            found[name] = read
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return sorted(map(str, one)) == sorted(map(str, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= 1e-6 * abs(other)  # Ollama keeps temperatures in 32 bits
    return bool(one == other)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…'"
