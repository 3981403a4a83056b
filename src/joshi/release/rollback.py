"""Take the release before, or a named one, into use again; or what was there before the first."""

from __future__ import annotations

import logging

from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.release.releases import Release, current_id, read_release, release_ids, verified_gguf
from joshi.release.switch import recover, switch
from joshi.release.targets import Target
from joshi.workspace import Workspace

LOG = logging.getLogger("joshi")


def rollback(
    plan: Plan,
    workspace: Workspace,
    target: Target,
    release_id: str | None = None,
    *,
    by: str,
    progress: Progress = SILENT,
) -> Release | None:
    """Switch pointer, alias and env file to an earlier release whose bytes are intact; None: to what was before any.

    Without `release_id` it is the one that the release in use replaced, or the newest intact one before it where either
    cannot be used. A release that the target has lost is made again from its file. The caller holds
    `workspace.lock()` and records the rollback.

    Args:
        by: who rolls back, for the log.

    Raises:
        JoshiError: there is no such release, none to go back to, or its model file has other bytes.
        Unavailable: the target is not there.
    """
    target.check()
    recover(plan, workspace, target)
    found = _intact(workspace, release_id) if release_id else _before_current(workspace)
    if found is not None:
        target.make(found, workspace.root / found.gguf, progress)
    switch(plan, workspace, found, target)
    LOG.info("%s rolled back to %s", by, found.id if found else "what was there before the first release")
    return found


def _intact(workspace: Workspace, identity: str) -> Release:
    release = read_release(workspace, identity)
    verified_gguf(workspace, release)
    return release


def _before_current(workspace: Workspace) -> Release | None:
    identity = current_id(workspace)
    if identity is None:
        raise JoshiError("nothing is deployed, so there is nothing to roll back; run 'joshi deploy' first")
    try:
        release = read_release(workspace, identity)
    except JoshiError as error:
        LOG.warning("%s; looking for the newest intact release before it", error)
        return _newest_intact(workspace, before=identity)
    if release.previous is not None:
        try:
            return _intact(workspace, release.previous)
        except JoshiError as error:
            LOG.warning("%s; looking for the newest intact release before it", error)
            return _newest_intact(workspace, before=release.previous)
    if release.before is None:
        raise JoshiError(
            f"{identity} is the first release and does not say what was there before; name another with "
            "'joshi rollback RELEASE'"
        )
    return None


def _newest_intact(workspace: Workspace, before: str) -> Release:
    for identity in release_ids(workspace):
        if identity >= before:
            continue
        try:
            return _intact(workspace, identity)
        except JoshiError as error:
            LOG.warning("%s", error)
    raise JoshiError(f"no release before {before} is intact; deploy a model again with 'joshi deploy'")
