"""The folder of a server's models: blobs by their sha256, and a manifest for each name (manifest/*.go)."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.release.ollama_double.go_text import Refused, to_json
from tests.release.ollama_double.names import Name

MODEL = "application/vnd.ollama.image.model"
ADAPTER = "application/vnd.ollama.image.adapter"
TEMPLATE = "application/vnd.ollama.image.template"
SYSTEM = "application/vnd.ollama.image.system"
PARAMS = "application/vnd.ollama.image.params"
MESSAGES = "application/vnd.ollama.image.messages"
LICENSE = "application/vnd.ollama.image.license"
CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
GRACE = 3600  # seconds that a blob without a manifest outlives a restart, from 0.21.0 on
PIECE = 2**20  # bytes


@dataclass(frozen=True)
class Layer:
    """A blob's place in a model. `status` is what `create` says of it; it is not kept."""

    media_type: str
    digest: str
    size: int
    origin: str = ""
    status: str = ""

    def json(self) -> dict[str, Any]:
        origin = {"from": self.origin} if self.origin else {}
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **origin}


@dataclass(frozen=True)
class Manifest:
    """What a name stands for. `digest` is of the manifest's own bytes: /api/tags shows it as the model's."""

    config: Layer
    layers: list[Layer]
    digest: str
    modified: datetime
    path: Path

    @property
    def all_layers(self) -> list[Layer]:
        return [*self.layers, self.config]


@dataclass
class Store:
    """A models folder. `room` is how many bytes may still be written, none: as many as the disk takes."""

    folder: Path
    room: int | None = None
    blobs: Path = field(init=False)
    manifests_folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.blobs, self.manifests_folder = self.folder / "blobs", self.folder / "manifests"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.manifests_folder.mkdir(exist_ok=True)

    def blob(self, digest: str) -> Path:
        if not re.fullmatch(r"sha256[:-][0-9a-fA-F]{64}", digest):
            raise Refused("invalid digest format")
        return self.blobs / digest.replace(":", "-")

    def new_layer(self, pieces: Iterable[bytes], media_type: str) -> Layer:
        """Keep bytes under their own digest, whatever the sender thinks it is; nothing stays if they break off."""
        sha256, size = hashlib.sha256(), 0
        handle, name = tempfile.mkstemp(prefix="sha256-", dir=self.blobs)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as out:
                for piece in pieces:
                    self._spend(len(piece), temporary)
                    out.write(piece)
                    sha256.update(piece)
                    size += len(piece)
            digest = f"sha256:{sha256.hexdigest()}"
            blob = self.blob(digest)
            status = "using existing layer" if blob.exists() else "creating new layer"
            if not blob.exists():
                temporary.rename(blob)
                blob.chmod(0o644)
            os.utime(blob)
        finally:
            temporary.unlink(missing_ok=True)
        return Layer(media_type, digest, size, status=f"{status} {digest}")

    def layer_of(self, digest: str, media_type: str, origin: str) -> Layer:
        """A blob that is there as part of another model. Raises: FileNotFoundError."""
        blob = self.blob(digest)
        size = blob.stat().st_size
        os.utime(blob)
        return Layer(media_type, digest, size, origin, f"using existing layer {digest}")

    def write_manifest(self, name: Name, config: Layer, layers: list[Layer]) -> None:
        path = self.manifests_folder / name.path
        path.parent.mkdir(parents=True, exist_ok=True)
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config.json()}
        value["layers"] = [layer.json() for layer in layers]
        data = (to_json(value) + "\n").encode()
        # Ollama empties the old manifest before it writes the new one: a full disk leaves neither.
        with path.open("wb") as out:
            self._spend(len(data), path)
            out.write(data)

    def manifest(self, name: Name) -> Manifest:
        """Raises: FileNotFoundError: no such model; Refused: its manifest is damaged."""
        path = self.manifests_folder / name.path
        data = path.read_bytes()
        try:
            value = json.loads(data)
        except ValueError as error:
            raise Refused("unexpected EOF" if data else "EOF") from error
        layers = [
            Layer(la["mediaType"], la["digest"], la["size"], la.get("from", ""))
            for la in (value["config"], *value["layers"])
        ]
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return Manifest(layers[0], layers[1:], hashlib.sha256(data).hexdigest(), modified, path)

    def manifests(self) -> dict[Name, Manifest]:
        """Every model; a damaged manifest is passed over, as in /api/tags."""
        found = {}
        for path in sorted(self.manifests_folder.glob("*/*/*/*")):
            name = Name(*path.relative_to(self.manifests_folder).parts)
            if name.valid and path.is_file():
                try:
                    found[name] = self.manifest(name)
                except (Refused, FileNotFoundError):
                    continue
        return found

    def remove(self, manifest: Manifest) -> None:
        """Forget a name, with the folders that it leaves empty, then the blobs that no other model uses."""
        manifest.path.unlink()
        for folder in manifest.path.parents:
            if folder == self.manifests_folder or any(folder.iterdir()):
                break
            folder.rmdir()
        self.remove_unused(manifest.all_layers)

    def remove_unused(self, layers: Iterable[Layer]) -> None:
        used = self._used()
        for layer in layers:
            if layer.digest not in used:
                self.blob(layer.digest).unlink(missing_ok=True)

    def prune(self, grace: bool) -> None:
        """What a server does as it starts: blobs without a model go, at once or (`grace`) when they are an hour old."""
        used = {digest.replace(":", "-") for digest in self._used()}
        for path in list(self.blobs.iterdir()):
            old = not grace or time.time() - path.stat().st_mtime >= GRACE
            if path.is_file() and path.name not in used and old:
                path.unlink()

    def json(self, layer: Layer) -> Any:
        return json.loads(self.blob(layer.digest).read_bytes())

    def text(self, layer: Layer) -> str:
        return self.blob(layer.digest).read_text(encoding="utf-8")

    def pieces(self, digest: str) -> Iterator[bytes]:
        with self.blob(digest).open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def _used(self) -> set[str]:
        return {layer.digest for manifest in self.manifests().values() for layer in manifest.all_layers}

    def _spend(self, n_bytes: int, path: Path) -> None:
        if self.room is not None:
            self.room -= n_bytes
            if self.room < 0:
                error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                error.call = "write"  # type: ignore[attr-defined]
                raise error


@dataclass
class Config:
    """The config blob (types/model/config.go): what `details` tells of a model."""

    model_format: str = ""
    model_family: str = ""
    model_families: list[str] = field(default_factory=list)
    model_type: str = ""
    file_type: str = ""

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "architecture": "amd64", "os": "linux"}

    @classmethod
    def of(cls, value: dict[str, Any]) -> Config:
        return cls(**{key: value[key] for key in cls.__dataclass_fields__ if value.get(key) is not None})
