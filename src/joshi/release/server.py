"""Serve the release in use for other programs."""

from __future__ import annotations

import contextlib
import logging
import threading

from joshi.errors import JoshiError
from joshi.llama import start
from joshi.plan import Plan
from joshi.release.releases import current, verified_gguf
from joshi.workspace import Workspace

LOG = logging.getLogger("joshi")


def serve(plan: Plan, workspace: Workspace, port: int | None = None) -> None:
    """Serve the release in use at the plan's host and port until Ctrl-C; the address goes to the log.

    Raises:
        JoshiError: nothing is deployed, the release is damaged, or the port is taken.
    """
    release = current(workspace)
    if release is None:
        raise JoshiError("nothing is deployed; run 'joshi deploy' first")
    path = verified_gguf(workspace, release)
    server = start(path, plan, plan.release.host, port or plan.release.port)
    LOG.info("%s (release %s) is served at %s/v1", release.model, release.id, server.listening_address)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
