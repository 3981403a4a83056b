"""track: runs that were kept offline."""

from __future__ import annotations

import typer

from joshi import tracking
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
    plan, workspace = current.plan, current.workspace
    count, code = tracking.send(plan, workspace)
    if code != 0:
        raise Unavailable(
            f"Weights & Biases did not take the runs in {tracking.folder(workspace)} (see above); log in with "
            "'wandb login' or set WANDB_API_KEY and WANDB_BASE_URL, and run it again"
        )
    where = f"{plan.tracking.entity}/{plan.tracking.project}"
    out.print(f"{count} runs sent to {where}" if count else "no run is left to send", highlight=False)
