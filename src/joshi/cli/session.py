"""What every command shares: the workspace, the plan, where output goes."""

from __future__ import annotations

import json
import logging
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from joshi.errors import PlanError
from joshi.plan import Plan
from joshi.plan_file import LoadedPlan, load_plan
from joshi.progress import Progress
from joshi.workspace import Workspace

out = Console()
err = Console(stderr=True)


@dataclass
class Session:
    root: Path
    flags: dict[str, str] = field(default_factory=dict)

    @cached_property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    @cached_property
    def loaded(self) -> LoadedPlan:
        return load_plan(self.workspace.plan_file, flags=self.flags)

    @property
    def plan(self) -> Plan:
        return self.loaded.plan

    @property
    def progress(self) -> Progress:
        return Progress(err if _is_main() else None)

    def lock(self) -> AbstractContextManager[None]:
        """The workspace's lock; the processes of one torchrun share it, and the first one holds it."""
        return self.workspace.lock() if _is_main() else nullcontext()


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"  # as torchrun sets it; joshi.training.processes would import torch


def session(context: typer.Context) -> Session:
    found = context.find_object(Session)
    assert found is not None  # the callback makes it before any command
    return found


def open_session(root: Path, settings: list[str]) -> Session:
    """Parse --set KEY=VALUE flags and send warnings to standard error."""
    flags: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise PlanError(f"--set {setting}: expected KEY=VALUE, such as --set sft.epochs=2")
        flags[key.strip()] = value.strip()
    handler = RichHandler(console=err, show_time=False, show_path=False, show_level=False, markup=False)
    logging.basicConfig(level=logging.ERROR, handlers=[handler], force=True)
    logging.getLogger("joshi").setLevel(logging.INFO)
    return Session(root, flags)


def plain(value: object, style: str = "") -> Text:
    """A stranger's text for the terminal: neither markup nor control characters do anything."""
    return Text("".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(value)), style)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))
