"""Releases on disk: one folder each with its own model file, and a pointer to the one in use."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from joshi.errors import JoshiError
from joshi.export.modelfile import Serving
from joshi.release.env_file import read_bytes
from joshi.workspace import Workspace, sha256_file

LOG = logging.getLogger("joshi")
RELEASE_ID = r"\d{8}-\d{6}-[0-9a-f]{8}"
NOT_REVIEWED = "not reviewed by a person"
NOT_EVALUATED = "not evaluated"


class Override(BaseModel):
    """A person's reason for releasing what the gates did not let through."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str
    by: str
    at: str


class Release(BaseModel):
    """What was put into use: which bytes, from which plan and data, let through by which gates and people."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=f"^{RELEASE_ID}$", description="UTC date, time and the start of model_sha256")
    created_at: str
    by: str = Field(description="who deployed it")
    model: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    gguf: str = Field(description="the release's own copy of the model, relative to the workspace")
    model_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    plan_sha256: str
    dataset: dict[str, Any] | None = Field(description="name, version and sha256; none if it is not known")
    gates: list[dict[str, Any]] = Field(description="as the evaluation of these bytes reported them")
    verdict: str = Field(description='pass, fail, insufficient, or "not evaluated"')
    overrides: list[Override]
    reviewed: str = Field(description='"not reviewed by a person", or by whom')
    previous: str | None = Field(description="the release in use before")
    target: str = Field("embedded", description="where it was deployed: ollama or embedded")
    artifact: str = Field("gguf", description="gguf, or adapter where the file is put on Ollama's own base")
    base: str | None = Field(None, description="an adapter's base, as Ollama calls it")
    serving: Serving = Field(description="template, system prompt, stop tokens and sampling that it is served with")
    smoke: list[dict[str, Any]] = Field(default_factory=list, description="the smoke test before it was switched to")
    variables: dict[str, str] = Field(
        default_factory=dict, description="what the env file says while it is in use, with {model} for the name"
    )
    before: dict[str, str | None] | None = Field(
        None, description="of the first release: the env file's values before it"
    )
    retired_at: str | None = Field(None, description="when its model file was deleted; it cannot be gone back to")

    @model_validator(mode="after")
    def own_folder(self) -> Release:
        ending = "-adapter.gguf" if self.artifact == "adapter" else ".gguf"
        if self.gguf != f"releases/{self.id}/{self.model}{ending}":
            raise ValueError(f"gguf must lie in the release's own folder, found {self.gguf!r}")
        return self

    @property
    def served_as(self) -> str:
        """Its own name in Ollama; the plain model name is a copy of the one in use."""
        return f"{self.model}:{self.id}"


def list_releases(workspace: Workspace) -> list[Release]:
    """All releases, newest first.

    Raises:
        JoshiError: a release.json is missing or damaged.
    """
    return [read_release(workspace, identity) for identity in release_ids(workspace)]


def readable_releases(workspace: Workspace) -> tuple[list[Release], list[str]]:
    """The releases whose record can be read, newest first, and what is wrong with the others."""
    found, damaged = [], []
    for identity in release_ids(workspace):
        try:
            found.append(read_release(workspace, identity))
        except JoshiError as error:
            damaged.append(str(error))
    return found, damaged


def current(workspace: Workspace) -> Release | None:
    """The release in use; None if nothing was deployed.

    Raises:
        JoshiError: the pointer or its release.json is damaged.
    """
    identity = current_id(workspace)
    return read_release(workspace, identity) if identity else None


def released(workspace: Workspace) -> Release:
    """The release in use.

    Raises:
        JoshiError: there is none, or it is damaged.
    """
    release = current(workspace)
    if release is None:
        raise JoshiError("nothing is deployed; run 'joshi deploy' first")
    return release


def in_use_or_none(workspace: Workspace) -> Release | None:
    """The release in use; a damaged one must not keep a sound one from taking its place."""
    try:
        return current(workspace)
    except JoshiError as error:
        LOG.warning("%s", error)
        return None


def state_of(release: Release, in_use: Release | None) -> Literal["current", "previous", "kept", "retired"]:
    """`previous` is the one that a rollback takes; a retired one's model file is gone."""
    if in_use and release.id == in_use.id:
        return "current"
    if release.retired_at:
        return "retired"
    return "previous" if in_use and release.id == in_use.previous else "kept"


def current_id(workspace: Workspace) -> str | None:
    """What the pointer says, whether or not that release can still be read."""
    path = pointer(workspace)
    content = read_bytes(path)
    if content is None:
        return None
    identity = content.decode("utf-8", "replace").strip()
    if not re.fullmatch(RELEASE_ID, identity):
        raise JoshiError(f"{path} names no release; run 'joshi rollback RELEASE' with one from 'joshi releases'")
    return identity


def release_ids(workspace: Workspace) -> list[str]:
    """The names of the release folders, newest first."""
    if not workspace.releases.is_dir():
        return []
    names = [path.name for path in workspace.releases.iterdir() if path.is_dir()]
    return sorted((name for name in names if re.fullmatch(RELEASE_ID, name)), reverse=True)


def read_release(workspace: Workspace, identity: str) -> Release:
    """One release's record.

    Raises:
        JoshiError: there is no such release, or its release.json is damaged.
    """
    if not re.fullmatch(RELEASE_ID, identity) or not (workspace.releases / identity).is_dir():
        known = ", ".join(release_ids(workspace)) or "none yet"
        raise JoshiError(f"there is no release {identity}; the releases are: {known}")
    path = workspace.releases / identity / "release.json"
    try:
        release = Release.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise JoshiError(f"{path} is missing; restore it, or roll back to another release") from None
    except (OSError, ValidationError) as error:
        problem = _first_problem(error) if isinstance(error, ValidationError) else error.strerror
        raise JoshiError(f"{path} is damaged ({problem}); restore it, or roll back to another release") from error
    if release.id != identity:
        raise JoshiError(f"{path} is the record of {release.id}; restore it, or roll back to another release")
    return release


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"


def verified_gguf(workspace: Workspace, release: Release) -> Path:
    """The release's model file, after checking that it still is what was released.

    Raises:
        JoshiError: the file is missing or has other bytes.
    """
    path = workspace.root / release.gguf
    if release.retired_at:
        raise JoshiError(
            f"the model file of {release.id} was not kept ([release] keep in the plan); see 'joshi releases'"
        )
    if not path.is_file():
        raise JoshiError(f"{path} is missing; roll back to another release with 'joshi rollback RELEASE'")
    if sha256_file(path) != release.model_sha256:
        raise JoshiError(
            f"{path} is not the file that was released (its sha256 differs); "
            "roll back to another release with 'joshi rollback RELEASE'"
        )
    return path


def pointer(workspace: Workspace) -> Path:
    """The file that names the release in use."""
    return workspace.releases / "current"
