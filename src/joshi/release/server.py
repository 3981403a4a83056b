"""Serve the release in use for other programs."""

from __future__ import annotations

import contextlib
import logging
import threading

from joshi.llama import start
from joshi.plan import Plan
from joshi.release.releases import released, verified_gguf
from joshi.release.targets import weights_of
from joshi.workspace import Workspace

LOG = logging.getLogger("joshi")


def serve(plan: Plan, workspace: Workspace, port: int | None = None) -> None:
    """Serve the release in use at the plan's host and port until Ctrl-C; the address goes to the log.

    Raises:
        JoshiError: nothing is deployed, the release is damaged, or the port is taken.
    """
    release = released(workspace)
    path = verified_gguf(workspace, release)
    model = weights_of(plan, workspace, release.artifact, path)
    server = start(model, plan, plan.release.host, port or plan.release.port)
    LOG.info("%s (release %s) is served at %s/v1", release.model, release.id, server.listening_address)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
