"""plan and memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from joshi import datasets
from joshi.cli.session import Session, out, print_json, session
from joshi.plan_check import check_plan

if TYPE_CHECKING:
    from joshi.memory import Memory

Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def add_to(app: typer.Typer) -> None:
    plan = typer.Typer(no_args_is_help=True, help="Look at the plan, check it, record it.")
    for command in (show, check, record):
        plan.command()(command)
    plan.command("list")(list_plans)
    app.add_typer(plan, name="plan")
    memory = typer.Typer(no_args_is_help=True, help="Search and repair the memory.")
    memory.command()(search)
    memory.command()(sync)
    app.add_typer(memory, name="memory")


def _memory(current: Session) -> AbstractContextManager[Memory]:
    from joshi.memory import open_memory  # brings the Qdrant client, which takes a second

    return open_memory(current.plan, current.workspace)


def show(context: typer.Context, as_json: Json = False) -> None:
    """Print every key with its value and where the value comes from."""
    loaded = session(context).loaded
    values = loaded.plan.model_dump(mode="json")
    rows = {}
    for key, source in loaded.sources.items():
        value: Any = values
        for part in key.split("."):
            value = value[part]
        rows[key] = {"value": value, "source": source}
    if as_json:
        print_json(rows)
        return
    table = Table("key", "value", "source")
    for key, row in rows.items():
        table.add_row(key, str(row["value"]), row["source"], style=None if row["source"] != "default" else "dim")
    out.print(table)


def check(context: typer.Context) -> None:
    """Find out whether the plan can do what it says; prints what it will do instead."""
    current = session(context)
    newest = datasets.latest(current.plan, current.workspace)
    notes = check_plan(current.plan, newest.counts["sft"] if newest else None)
    for note in notes:
        out.print(note, highlight=False, markup=False)
    if not notes:
        out.print("the plan does what it says")


def record(context: typer.Context, text: Annotated[str, typer.Argument(help="What to remember of this plan.")]) -> None:
    """Record the plan in the memory before anything is deployed."""
    current = session(context)
    with _memory(current) as memory:
        identity = memory.record(
            "model_plan",
            model_name=current.plan.model.name,
            plan_text=text,
            plan_metadata={"plan_version": current.plan.sha256()[:12], "deployment_status": "planned"},
            tags=["plan"],
        )
    out.print(identity, highlight=False)


def list_plans(context: typer.Context) -> None:
    """The plans recorded for this model, newest first, as JSON."""
    current = session(context)
    with _memory(current) as memory:
        print_json(memory.repository.fetch_model_plans(model_name=current.plan.model.name))


def search(context: typer.Context, text: Annotated[str, typer.Argument(help="What to look for.")]) -> None:
    """What the memory holds that is nearest in meaning, as JSON."""
    current = session(context)
    with _memory(current) as memory:
        print_json(memory.repository.search(text))


def sync(context: typer.Context) -> None:
    """Write to the searchable store whatever only the ledger holds."""
    current = session(context)
    with _memory(current) as memory:
        out.print(f"{memory.sync()} entries written")
