"""Put an exported model into use, if the gates let through exactly these bytes."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from joshi.errors import GateRefused, JoshiError, PlanError
from joshi.llama import running
from joshi.plan import Plan
from joshi.release.env_file import set_value
from joshi.release.releases import (
    NOT_EVALUATED,
    NOT_REVIEWED,
    Override,
    Release,
    current,
    current_id,
    release_ids,
    switch,
    verified_gguf,
)
from joshi.release.smoke import plain_reply
from joshi.stage import now
from joshi.workspace import Workspace, atomic, explain, make_folder, sha256_file, sync_folder, write_json

COPY_BYTES = 1 << 22
TRIAL_TOKENS = 16  # enough to see that the model speaks; smoke looks at whole answers
DATASET_KEYS = ("name", "version", "sha256")


def deploy(plan: Plan, workspace: Workspace, *, override: str | None = None, by: str) -> Release:
    """Release models/<name>.gguf: copy it, try it, then switch the pointer and the env file to it.

    Whatever fails, the release in use and the env file stay as they were. If this model and this plan are in
    use already, that release is returned. One command at a time: the caller holds `workspace.lock()`.

    Args:
        override: a person's reason for releasing without the gates' consent; it is recorded for good.
        by: who deploys.

    Raises:
        GateRefused: no evaluation, one that did not pass, or one of other bytes, and no override.
        JoshiError: no model, not a GGUF, or llama.cpp cannot answer with it.
    """
    if override is not None and not override.strip():
        raise PlanError("an override needs a reason; say in words why this model is released")
    source = workspace.model(plan.model.name)
    _check_magic(source)
    sha256 = sha256_file(source)
    in_use = _unchanged(plan, workspace, sha256)
    if in_use:
        set_value(workspace.root / plan.release.env_file, plan.release.variable, in_use.model)
        return in_use
    evidence = _evidence(workspace, sha256)
    if evidence.refusal and override is None:
        raise GateRefused(evidence.refusal)
    created_at = now()
    identity = _free_id(workspace, created_at, sha256)
    overrides = [Override(reason=override.strip(), by=by, at=created_at)] if override and evidence.refusal else []
    release = Release(
        id=identity,
        created_at=created_at,
        by=by,
        model=plan.model.name,
        gguf=f"releases/{identity}/{plan.model.name}.gguf",
        model_sha256=sha256,
        plan_sha256=plan.sha256(),
        dataset=evidence.dataset,
        gates=evidence.gates,
        verdict=evidence.verdict,
        overrides=overrides,
        reviewed=evidence.reviewed,
        previous=_previous(workspace),
    )
    folder = _place(plan, workspace, release, source)
    try:
        switch(plan, workspace, release)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return release


@dataclass(frozen=True)
class _Evidence:
    """What the evaluation says about these bytes; `refusal` is why the gates do not let them through."""

    refusal: str | None
    verdict: str = NOT_EVALUATED
    reviewed: str = NOT_REVIEWED
    gates: list[dict[str, Any]] = field(default_factory=list)
    dataset: dict[str, Any] | None = None


class _Report(BaseModel):
    """The part of reports/evaluation/report.json that decides."""

    model_config = ConfigDict(extra="ignore")

    verdict: str
    model_sha256: str
    gates: list[dict[str, Any]]
    dataset: dict[str, Any] | None = None
    reviewed: str = NOT_REVIEWED


def _evidence(workspace: Workspace, sha256: str) -> _Evidence:
    path = workspace.evaluation_report / "report.json"
    then = "run 'joshi evaluate', or give a reason with --override REASON"
    try:
        report = _Report.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return _Evidence(f"this model was not evaluated ({path} is missing); {then}")
    except (OSError, ValidationError) as error:
        return _Evidence(f"{path} cannot be read ({str(error).splitlines()[0]}); {then}")
    if report.model_sha256 != sha256:
        return _Evidence(f"{path} is about another model file (sha256 {report.model_sha256[:8]}…); {then}")
    refusal = None
    if report.verdict != "pass":
        required = [gate for gate in report.gates if gate.get("required", True)]
        failed = ", ".join(str(gate.get("name")) for gate in required if gate.get("verdict") != "pass")
        refusal = f"the gates' verdict is {report.verdict!r} ({failed}); read {path}, then {then}"
    dataset = {key: report.dataset.get(key) for key in DATASET_KEYS} if report.dataset else None
    return _Evidence(refusal, report.verdict, report.reviewed, report.gates, dataset)


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise JoshiError(f"{path} does not exist; run 'joshi export' first") from None
    except OSError as error:
        raise explain(error, path) from error
    if magic != b"GGUF":
        raise JoshiError(f"{path} is no GGUF file (it starts with {magic!r}); run 'joshi export' again")


def _unchanged(plan: Plan, workspace: Workspace, sha256: str) -> Release | None:
    """The release in use, if it is whole and of the same model and plan."""
    try:
        release = current(workspace)
        if release is None or (release.model_sha256, release.plan_sha256) != (sha256, plan.sha256()):
            return None
        verified_gguf(workspace, release)
    except JoshiError:
        return None  # a damaged release must not keep a sound one from taking its place
    return release


def _previous(workspace: Workspace) -> str | None:
    try:
        return current_id(workspace)
    except JoshiError:
        return None  # as above: a damaged pointer is about to be replaced


def _free_id(workspace: Workspace, created_at: str, sha256: str) -> str:
    """An id that sorts after every other: two releases of one second would have no order to roll back by."""
    moment = datetime.fromisoformat(created_at)
    taken = {identity[: len("20260101-120000")] for identity in release_ids(workspace)}
    while f"{moment:%Y%m%d-%H%M%S}" in taken:
        moment += timedelta(seconds=1)
    return f"{moment:%Y%m%d-%H%M%S}-{sha256[:8]}"


def _place(plan: Plan, workspace: Workspace, release: Release, source: Path) -> Path:
    """Make the release's folder, whole and tried, or not at all."""
    make_folder(workspace.releases)
    for abandoned in workspace.releases.glob(".*.partial"):  # a deploy that was killed; nobody else holds the lock
        shutil.rmtree(abandoned, ignore_errors=True)
    staging = workspace.releases / f".{release.id}.partial"
    folder = workspace.releases / release.id
    try:
        copy = staging / Path(release.gguf).name
        # A copy, not a hard link: a program that rewrites the model in place would change the release too.
        with source.open("rb") as model, atomic(copy, "wb") as out:
            shutil.copyfileobj(model, out, COPY_BYTES)
        if sha256_file(copy) != release.model_sha256:
            raise JoshiError(f"{source} changed while it was copied; run 'joshi deploy' again")
        _try(plan, copy, source)
        write_json(staging / "release.json", release.model_dump(mode="json"))
        staging.rename(folder)
        sync_folder(workspace.releases)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise explain(error, folder) from error
        raise
    return folder


def _try(plan: Plan, copy: Path, source: Path) -> None:
    with running(copy, plan) as url:
        reply = plain_reply(url, plan, TRIAL_TOKENS)
    if not re.search(r"\w", reply.text):
        raise JoshiError(f"{source} loads but answers nothing ({reply.text!r}); export it again")
