"""What a stage is: the plan sections and files it depends on, and the manifest it leaves."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from joshi import __version__
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.workspace import Workspace, sha256_file, sha256_json, write_text

_TOOLS = (
    "torch",
    "transformers",
    "peft",
    "xllamacpp",
    "gguf",
    "tokenizers",
    "phonenumbers",
    "qdrant-client",
)


class Manifest(BaseModel):
    """What a stage was and what it became; the only thing, with its files, that passes between stages."""

    stage: str
    key: str = Field(description="sha256 over the stage's plan sections, inputs and tool version")
    plan_sha256: str = Field(description="of the whole plan")
    seed: int
    versions: dict[str, str]
    inputs: dict[str, str] = Field(description="path in the workspace: sha256")
    outputs: dict[str, str] = Field(description="path in the workspace: sha256")
    metrics: dict[str, Any] = Field(default_factory=dict)
    seconds: float
    created_at: str


@dataclass(frozen=True)
class Stage:
    """`inputs` lists the files whose bytes decide, with the plan's `sections`, whether the stage must run."""

    name: str
    sections: tuple[str, ...]
    inputs: Callable[[Plan, Workspace], Sequence[Path]]

    def key(self, plan: Plan, hashes: dict[str, str]) -> str:
        return sha256_json([self.name, __version__, plan.sha256(*self.sections), hashes])

    def hashes(self, plan: Plan, workspace: Workspace) -> dict[str, str]:
        """sha256 of every input.

        Raises:
            JoshiError: an input is missing, so an earlier stage has not run.
        """
        hashes: dict[str, str] = {}
        for path in self.inputs(plan, workspace):
            if not path.is_file():
                raise JoshiError(f"{self.name}: {path} is missing; run the stages before it, or 'joshi run'")
            hashes[workspace.relative(path)] = sha256_file(path)
        return hashes

    def begin(self, plan: Plan, workspace: Workspace) -> StageRun:
        return StageRun(self, plan, workspace, self.hashes(plan, workspace))

    def current(self, plan: Plan, workspace: Workspace) -> Manifest | None:
        """The manifest of an earlier run, if its inputs and its outputs are still what they were."""
        manifest = read_manifest(workspace, self.name)
        if manifest is None or manifest.key != self.key(plan, self.hashes(plan, workspace)):
            return None
        for name, sha256 in manifest.outputs.items():
            path = workspace.root / name
            if not path.is_file() or sha256_file(path) != sha256:
                return None
        return manifest


@dataclass
class StageRun:
    stage: Stage
    plan: Plan
    workspace: Workspace
    hashes: dict[str, str]
    started: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> str:
        return self.stage.key(self.plan, self.hashes)

    def hash_of(self, path: Path) -> str:
        """sha256 of one of the stage's inputs."""
        return self.hashes[self.workspace.relative(path)]

    def finish(self, outputs: Sequence[Path], metrics: dict[str, Any]) -> Manifest:
        """Write the manifest last: a stage without one did not end."""
        manifest = Manifest(
            stage=self.stage.name,
            key=self.key,
            plan_sha256=self.plan.sha256(),
            seed=self.plan.seed,
            versions=versions(),
            inputs=self.hashes,
            outputs={self.workspace.relative(path): sha256_file(path) for path in outputs},
            metrics=metrics,
            seconds=round(time.monotonic() - self.started, 1),
            created_at=now(),
        )
        write_text(self.workspace.manifest_path(manifest.stage), manifest.model_dump_json(indent=1) + "\n")
        return manifest

    def finished(self) -> Manifest:
        """What `finish` wrote, here or in the process that writes."""
        manifest = read_manifest(self.workspace, self.stage.name)
        if manifest is None:
            raise JoshiError(f"{self.stage.name} left no manifest; run it again")
        return manifest


def read_manifest(workspace: Workspace, stage: str) -> Manifest | None:
    path = workspace.manifest_path(stage)
    if not path.exists():
        return None
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise JoshiError(f"{path} is not a manifest; delete it and the stage runs again") from error


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@cache
def versions() -> dict[str, str]:
    """Versions of Joshi, Python and the tools that shape its results."""
    found = {"joshi": __version__, "python": platform.python_version()}
    for tool in _TOOLS:
        try:
            found[tool] = importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
