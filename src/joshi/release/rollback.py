"""Take the release before, or a named one, into use again."""

from __future__ import annotations

import logging

from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.release.releases import Release, current_id, read_release, release_ids, switch, verified_gguf
from joshi.workspace import Workspace

LOG = logging.getLogger("joshi")


def rollback(plan: Plan, workspace: Workspace, release_id: str | None = None, *, by: str) -> Release:
    """Switch the pointer and the env file to an earlier release whose bytes are intact.

    Without `release_id` it is the one that the release in use replaced, or the newest intact one before it
    where that cannot be read. The caller holds `workspace.lock()` and records the rollback.

    Args:
        by: who rolls back, for the log.

    Raises:
        JoshiError: there is no such release, none to go back to, or its model file has other bytes.
    """
    target = _intact(workspace, release_id) if release_id else _before_current(workspace)
    switch(plan, workspace, target)
    LOG.info("%s rolled back to release %s", by, target.id)
    return target


def _intact(workspace: Workspace, identity: str) -> Release:
    release = read_release(workspace, identity)
    verified_gguf(workspace, release)
    return release


def _before_current(workspace: Workspace) -> Release:
    identity = current_id(workspace)
    if identity is None:
        raise JoshiError("nothing is deployed, so there is nothing to roll back; run 'joshi deploy' first")
    try:
        previous = read_release(workspace, identity).previous
    except JoshiError as error:
        LOG.warning("%s; looking for the newest intact release before it", error)
        return _newest_intact(workspace, before=identity)
    if previous is None:
        raise JoshiError(f"{identity} is the first release; name another with 'joshi rollback RELEASE'")
    return _intact(workspace, previous)


def _newest_intact(workspace: Workspace, before: str) -> Release:
    for identity in release_ids(workspace):
        if identity >= before:
            continue
        try:
            return _intact(workspace, identity)
        except JoshiError as error:
            LOG.warning("%s", error)
    raise JoshiError(f"no release before {before} is intact; deploy a model again with 'joshi deploy'")
