"""From one release to another: the alias, the env file and the pointer, all of them or none.

A note of what is under way is written first and removed last. Whoever is killed in between leaves it, and the next
deploy or rollback puts alias and env file to what the pointer says.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from joshi.errors import GateRefused, JoshiError
from joshi.plan import Plan
from joshi.release.env_file import read_bytes, read_value, replace_bytes, set_value, unset
from joshi.release.releases import Release, current, in_use_or_none, pointer, read_release, release_ids
from joshi.release.targets import Target
from joshi.workspace import Workspace, write_json, write_text

LOG = logging.getLogger("joshi")


def under_way(workspace: Workspace) -> Path:
    """The note of a switch that has not ended."""
    return workspace.releases / ".switching.json"


def switch(plan: Plan, workspace: Workspace, release: Release | None, target: Target) -> None:
    """Put a release into use, or what was before the first.

    Raises:
        JoshiError, Unavailable: the target or a file refuses; then all is as it was.
    """
    env = workspace.root / plan.release.env_file
    files = {path: read_bytes(path) for path in (pointer(workspace), env)}
    in_use, first = in_use_or_none(workspace), _first(workspace)
    nothing_before = files[pointer(workspace)] is None
    write_json(under_way(workspace), {"from": in_use.id if in_use else None, "to": release.id if release else None})
    try:
        target.point(release, first=nothing_before)
        _set_variables(env, release, first)
        if release is None:
            pointer(workspace).unlink(missing_ok=True)
        else:
            write_text(pointer(workspace), release.id + "\n")
    except BaseException:
        for path, content in files.items():
            if content is None:
                path.unlink(missing_ok=True)
            elif read_bytes(path) != content:
                replace_bytes(path, content)
        if in_use or nothing_before:
            target.point(in_use)  # if this fails too the note stays, and the next command tries again
        under_way(workspace).unlink(missing_ok=True)
        raise
    under_way(workspace).unlink(missing_ok=True)


def recover(plan: Plan, workspace: Workspace, target: Target) -> None:
    """End what a killed switch left: alias and env file follow the pointer.

    Raises:
        JoshiError, Unavailable: the target or a file refuses.
    """
    note = under_way(workspace)
    if not note.exists():
        return
    try:
        asked = json.loads(note.read_text(encoding="utf-8"))
        to, origin = asked["to"], asked["from"]
    except (ValueError, KeyError, TypeError):
        to = origin = None
    try:
        release = current(workspace)
    except JoshiError as error:
        LOG.warning("%s", error)
        return  # whatever takes its place ends this too
    identity = release.id if release else "what was there before the first release"
    LOG.warning("a switch from %s to %s was cut off; %s is put into use again", origin, to, identity)
    target.point(release)
    first = _first(workspace) or (read_release(workspace, to) if to in release_ids(workspace) else None)
    _set_variables(workspace.root / plan.release.env_file, release, first)
    note.unlink(missing_ok=True)


def values_now(plan: Plan, workspace: Workspace) -> dict[str, str | None]:
    """What the variables say before the first release."""
    env = workspace.root / plan.release.env_file
    return {name: read_value(env, name) for name in plan.release.variables}


def require_set(plan: Plan, workspace: Workspace, release: Release) -> None:
    """Raises GateRefused if a variable by which callers find the release says something else."""
    env = workspace.root / plan.release.env_file
    for name, text in release.variables.items():
        wanted, found = text.replace("{model}", release.model), read_value(env, name)
        if found != wanted:
            raise GateRefused(
                f"{env}: {name} is {'not set' if found is None else found!r}, and release {release.id} needs "
                f"{wanted!r}; run 'joshi rollback {release.id}' to set it"
            )


def _set_variables(env: Path, release: Release | None, first: Release | None) -> None:
    if release is not None:
        for name, text in release.variables.items():
            set_value(env, name, text.replace("{model}", release.model))
        return
    for name, value in ((first.before if first else None) or {}).items():
        if value is None:
            unset(env, name)
        else:
            set_value(env, name, value)


def _first(workspace: Workspace) -> Release | None:
    """The release that remembers what was before any."""
    for identity in reversed(release_ids(workspace)):
        try:
            release = read_release(workspace, identity)
        except JoshiError:
            continue
        if release.before is not None:
            return release
    return None
