"""track: runs that were kept offline."""

from __future__ import annotations

import os
import subprocess
import sys

import typer

from joshi.cli.session import out, session
from joshi.errors import Unavailable


def add_to(app: typer.Typer) -> None:
    track = typer.Typer(no_args_is_help=True, help="Runs in Weights & Biases.")
    track.command()(sync)
    track.callback()(_group)
    app.add_typer(track, name="track")


def _group() -> None:
    """Runs in Weights & Biases."""


def sync(context: typer.Context) -> None:
    """Send the runs that were kept offline to Weights & Biases; those that were sent are left out."""
    current = session(context)
    folder = current.workspace.private / "wandb"
    runs = sorted(path for path in folder.glob("offline-run-*") if path.is_dir())
    open_ones = [path for path in runs if not any(path.glob("*.wandb.synced"))]
    if not open_ones:
        out.print(f"{len(runs)} runs in {folder}, none of them left to send", highlight=False)
        return
    tracking = current.plan.tracking
    command = [sys.executable, "-m", "wandb", "sync", "--entity", tracking.entity, "--project", tracking.project]
    done = subprocess.run([*command, *map(str, open_ones)], env={**os.environ, "WANDB_SILENT": "true"}, check=False)
    if done.returncode != 0:
        raise Unavailable(
            f"Weights & Biases did not take the runs in {folder} (see above); log in with 'wandb login' or set "
            "WANDB_API_KEY and WANDB_BASE_URL, and run it again"
        )
    out.print(f"{len(open_ones)} runs sent to {tracking.entity}/{tracking.project}", highlight=False)
