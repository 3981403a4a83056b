"""Put an exported model into use, if the gates let through exactly these bytes and it answers as its callers need."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

from joshi.base.gguf_file import GgufFile
from joshi.base.tokenizer import chat_tokenizer
from joshi.errors import GateRefused, JoshiError, PlanError
from joshi.export import shipped_file
from joshi.export.modelfile import modelfile, serving
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.release.evidence import Evidence, evidence
from joshi.release.releases import (
    Override,
    Release,
    current,
    current_id,
    list_releases,
    pointer,
    release_ids,
    verified_gguf,
)
from joshi.release.smoke import refusal, smoke
from joshi.release.switch import recover, switch, values_now
from joshi.release.targets import Target, model_of
from joshi.stage import now
from joshi.workspace import Workspace, atomic, explain, make_folder, sha256_file, sync_folder, write_json, write_text

LOG = logging.getLogger("joshi")
COPY_BYTES = 1 << 22


def deploy(
    plan: Plan,
    workspace: Workspace,
    target: Target,
    *,
    override: str | None = None,
    by: str,
    progress: Progress = SILENT,
    planned: Callable[[Release], None] = lambda release: None,
) -> Release:
    """Release models/<name>.gguf: copy it, serve it under its own name, try it, then switch the callers to it.

    Whatever fails, the release in use, the alias and the env file stay as they were. If this model and this plan are
    in use already, that release is returned. One command at a time: the caller holds `workspace.lock()`.

    Args:
        target: where it is served (joshi.release.targets.target_of).
        override: a person's reason for releasing without the gates' consent; it is recorded for good.
        by: who deploys.
        planned: called with the release before anything is served.

    Raises:
        GateRefused: no evaluation, one that did not pass, or one of other bytes, and no override; the target does not
            serve what it was told; or the smoke test failed.
        JoshiError: no model, or not a whole GGUF.
        Unavailable: the target is not there.
    """
    if override is not None and not override.strip():
        raise PlanError("an override needs a reason; say in words why this model is released")
    source = shipped_file(plan, workspace)
    _require_whole(source)
    sha256 = sha256_file(source)
    target.check()
    recover(plan, workspace, target)
    if in_use := _unchanged(plan, workspace, sha256):
        target.make(in_use, workspace.root / in_use.gguf, progress)
        switch(plan, workspace, in_use, target)
        return in_use
    found = evidence(workspace, sha256)
    if found.refusal and override is None:
        raise GateRefused(found.refusal)
    release = _record(plan, workspace, source, sha256, found, override, by)
    planned(release)
    with _placed(workspace, release, source) as staging:
        release = _tried(plan, workspace, release, staging / source.name, target, progress)
        write_json(staging / "release.json", release.model_dump(mode="json"))
    try:
        switch(plan, workspace, release, target)
    except BaseException:
        shutil.rmtree(workspace.releases / release.id, ignore_errors=True)
        raise
    _retire(plan, workspace, target)
    return release


def _require_whole(path: Path) -> None:
    """A file that lies about what it holds never reaches a server, which might believe it."""
    try:
        GgufFile(path).header  # noqa: B018 - reading it is the check
    except JoshiError as error:
        if not path.exists():
            raise JoshiError(f"{path} does not exist; run 'joshi export' first") from None
        raise JoshiError(f"{str(error).split(';')[0]}; run 'joshi export' again") from error


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


def _record(
    plan: Plan, workspace: Workspace, source: Path, sha256: str, found: Evidence, override: str | None, by: str
) -> Release:
    created_at = now()
    identity = _free_id(workspace, created_at, sha256)
    adapter = plan.release.artifact == "adapter"
    return Release(
        id=identity,
        created_at=created_at,
        by=by,
        model=plan.model.name,
        gguf=f"releases/{identity}/{source.name}",
        model_sha256=sha256,
        plan_sha256=plan.sha256(),
        dataset=found.dataset,
        gates=found.gates,
        verdict=found.verdict,
        overrides=[Override(reason=override.strip(), by=by, at=created_at)] if override and found.refusal else [],
        reviewed=found.reviewed,
        previous=_previous(workspace),
        target=plan.release.target,
        artifact=plan.release.artifact,
        base=plan.model.base.removeprefix("ollama:") if adapter else None,
        serving=serving(plan, chat_tokenizer(model_of(plan, workspace, plan.release.artifact, source))),
        variables=plan.release.variables,
        before=None if pointer(workspace).exists() else values_now(plan, workspace),
    )


def _previous(workspace: Workspace) -> str | None:
    try:
        return current_id(workspace)
    except JoshiError:
        return None  # as above: a damaged pointer is about to be replaced


def _free_id(workspace: Workspace, created_at: str, sha256: str) -> str:
    """An id that sorts after every other, whatever the clock says: two releases must have an order to roll back by."""
    moment = datetime.fromisoformat(created_at)
    newest = next(iter(release_ids(workspace)), None)
    if newest is not None:
        last = datetime.strptime(newest[:15], "%Y%m%d-%H%M%S").replace(tzinfo=moment.tzinfo)
        moment = max(moment, last + timedelta(seconds=1))
    return f"{moment:%Y%m%d-%H%M%S}-{sha256[:8]}"


@contextlib.contextmanager
def _placed(workspace: Workspace, release: Release, source: Path) -> Iterator[Path]:
    """The release's folder under another name; it takes its own when the block ends well, and else is gone."""
    make_folder(workspace.releases)
    for abandoned in workspace.releases.glob(".*.partial"):  # a deploy that was killed; nobody else holds the lock
        shutil.rmtree(abandoned, ignore_errors=True)
    staging = workspace.releases / f".{release.id}.partial"
    try:
        copy = staging / source.name
        # A copy, not a hard link: a program that rewrites the model in place would change the release too.
        with source.open("rb") as model, atomic(copy, "wb") as out:
            shutil.copyfileobj(model, out, COPY_BYTES)
        if sha256_file(copy) != release.model_sha256:
            raise JoshiError(f"{source} changed while it was copied; run 'joshi deploy' again")
        write_text(staging / "Modelfile", modelfile(release.serving, release.base or f"./{copy.name}",
                                                    f"./{copy.name}" if release.base else None))  # fmt: skip
        yield staging
        staging.rename(workspace.releases / release.id)
        sync_folder(workspace.releases)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError):
            raise explain(error, workspace.releases / release.id) from error
        raise


def _tried(
    plan: Plan, workspace: Workspace, release: Release, file: Path, target: Target, progress: Progress
) -> Release:
    """The release with its smoke test, after the target has made it; one that fails is given up."""
    try:
        target.make(release, file, progress)
        progress.say("asking as the agents do")
        tokenizer = chat_tokenizer(model_of(plan, workspace, release.artifact, file))
        with target.asking(release, file) as ask:
            checks = smoke(ask, plan, tokenizer)
        if found := refusal(checks):
            raise GateRefused(f"{found}; nothing was switched")
    except BaseException:
        give_up(target, release)
        raise
    return release.model_copy(update={"smoke": [asdict(check) for check in checks]})


def give_up(target: Target, release: Release) -> None:
    """Drop a release that nobody uses; if the target cannot now, the next deploy sweeps it away."""
    try:
        target.drop(release)
    except JoshiError as error:
        LOG.warning("%s is still there: %s", release.served_as, error)


def _retire(plan: Plan, workspace: Workspace, target: Target) -> None:
    """Delete the model files of releases that are further back than the plan keeps, and what no release knows of."""
    try:
        known = list_releases(workspace)
        in_use = current(workspace)
        older = [one for one in known if in_use and one.id < in_use.id and one.retired_at is None]
        for release in older[plan.release.keep :]:
            if in_use and release.id == in_use.previous:
                continue
            give_up(target, release)
            retired = release.model_copy(update={"retired_at": now()})
            write_json(workspace.releases / release.id / "release.json", retired.model_dump(mode="json"))
            (workspace.root / release.gguf).unlink(missing_ok=True)
        target.sweep({one.id for one in known})
    except JoshiError as error:  # the release is in use; old files can wait
        LOG.warning("older releases were not cleared: %s", error)
