"""A model in a local Ollama store: a manifest that names layers by their sha256, and the layers as blobs.

Layout: ollama/ollama, docs and server/manifest.go: manifests/HOST/NAMESPACE/MODEL/TAG, blobs/sha256-DIGEST.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from joshi.errors import JoshiError, Unavailable
from joshi.workspace import sha256_file

_LAYER = "application/vnd.ollama.image."
_HOST = "registry.ollama.ai"
_SERVICE_FOLDER = Path("/usr/share/ollama/.ollama/models")
_MOST_TEXT = 1 << 20  # bytes of a template, system prompt, parameters or licence
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class OllamaModel:
    """What Ollama serves a model with, beside its weights."""

    weights: Path
    template: str | None  # in Go's template language
    system: str | None
    parameters: dict[str, Any]  # stop, temperature, num_ctx, …
    licences: list[str]


def stores(environment: Mapping[str, str]) -> list[Path]:
    """Where Ollama keeps models, in the order in which they are looked for."""
    found = [Path.home() / ".ollama" / "models", _SERVICE_FOLDER]
    if environment.get("OLLAMA_MODELS"):
        found.insert(0, Path(environment["OLLAMA_MODELS"]))
    return found


def find_model(name: str, environment: Mapping[str, str] | None = None) -> OllamaModel:
    """The model called NAME, NAME:TAG, NAMESPACE/NAME:TAG or HOST/NAMESPACE/NAME:TAG; its weights' sha256 is checked.

    Raises:
        JoshiError: the name is none, the manifest is damaged, or a blob is missing or not what its name promises.
        Unavailable: no store has it.
    """
    head, _, last = name.rpartition("/")
    model, _, tag = last.partition(":")
    parts = [*head.split("/"), model] if head else [model]
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in [*parts, tag or "latest"]):
        raise JoshiError(
            f'joshi.toml: [model] base = "ollama:{name}" is no name of an Ollama model; write ollama:NAME or '
            "ollama:NAME:TAG, as 'ollama list' shows it"
        )
    path = Path(*[_HOST, "library"][: 3 - len(parts)], *parts, tag or "latest")
    looked = stores(os.environ if environment is None else environment)
    for store in looked:
        manifest = store / "manifests" / path
        if manifest.is_file():
            return _read(store, manifest)
    raise Unavailable(
        f'joshi.toml: [model] base = "ollama:{name}": no such model in {", ".join(map(str, looked))}; '
        f"run 'ollama pull {name if tag else name + ':latest'}', set OLLAMA_MODELS, or name a file with gguf:PATH"
    )


def _read(store: Path, manifest: Path) -> OllamaModel:
    layers: dict[str, list[Path]] = {}
    try:
        for layer in json.loads(manifest.read_text(encoding="utf-8"))["layers"]:
            algorithm, _, digest = str(layer["digest"]).partition(":")
            if algorithm != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise ValueError(f"digest {layer['digest']!r}")
            layers.setdefault(str(layer["mediaType"]), []).append(store / "blobs" / f"sha256-{digest}")
        weights = layers[f"{_LAYER}model"][0]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JoshiError(f"{manifest} is no Ollama manifest with a model layer ({error}); pull it again") from error
    if not weights.is_file():
        raise JoshiError(f"{weights}, named by {manifest}, is missing; pull the model again")
    _require_sha256(weights)

    def texts(kind: str) -> list[str]:
        return [_text(path) for path in layers.get(_LAYER + kind, [])]

    parameters = texts("params")
    try:
        chosen = json.loads(parameters[0]) if parameters else {}
        if not isinstance(chosen, dict):
            raise ValueError("no JSON object")
    except ValueError as error:
        raise JoshiError(f"{manifest}: its parameters are not readable ({error}); pull the model again") from error
    return OllamaModel(
        weights, next(iter(texts("template")), None), next(iter(texts("system")), None), chosen, texts("license")
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_TEXT:
            raise JoshiError(
                f"{path} has {path.stat().st_size} bytes, far more than a text layer; pull the model again"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise JoshiError(f"{path}, named by the model's manifest, cannot be read; pull the model again") from error
    except UnicodeDecodeError as error:
        raise JoshiError(f"{path} is not UTF-8; pull the model again") from error
    _require_sha256(path)
    return text


def _require_sha256(blob: Path) -> None:
    stat = blob.stat()
    if _sha256(blob, stat.st_size, stat.st_mtime_ns) != blob.name.removeprefix("sha256-"):
        raise JoshiError(f"{blob} does not have the sha256 in its name; delete it and pull the model again")


@cache  # a command asks for its base several times, and Phi-4 has 9 GB
def _sha256(blob: Path, size: int, mtime_ns: int) -> str:
    return sha256_file(blob)
