"""bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from joshi import base
from joshi.cli.data import ensure_base
from joshi.cli.session import Session, out, plain, print_json, session
from joshi.errors import JoshiError
from joshi.rubric import Rubric
from joshi.workspace import write_json

REPORT = "benchmark"


def add_to(app: typer.Typer) -> None:
    app.command()(bench)


def bench(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="base, base_with_rules, sft, shipped or an endpoint of the plan; all of them without."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", help="Only hold a folder's tasks against their own answers, and name what is broken."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Write joshi-bench's replies and play its games with each system; the report lies in reports/benchmark/."""
    from joshi import evaluation  # brings scipy, which takes a second
    from joshi.evaluation.bench import checks, tasks
    from joshi.evaluation.systems import systems

    current = session(context)
    ensure_base(current)
    rubric = Rubric(current.plan, base.tokenizer(current.workspace))
    if check is not None:
        found = tasks.load(check)
        checks.validate(found, rubric)
        out.print(f"{len(found)} tasks are sound", highlight=False)
        return
    known = {system.name: system for system in systems(current.plan, current.workspace)}
    if unknown := [name for name in names or [] if name not in known]:
        raise JoshiError(f"no system is called {unknown[0]!r}; there are {', '.join(known)}")
    chosen = [known[name] for name in names or known]
    for system in chosen:
        if isinstance(system.model, Path) and not system.model.is_file():
            raise JoshiError(f"{system.model} does not exist; run 'joshi run' first, or name other systems")
    report = evaluation.benchmark(chosen, current.plan, rubric, current.workspace.cache, current.progress)
    path = current.workspace.root / "reports" / REPORT / "report.json"
    write_json(path, _bound(report, current))
    if as_json:
        print_json(report)
        return
    out.print(tables(report["systems"]))
    out.print(f"answers and talks, without the hidden ones: {path}", highlight=False)


def tables(found: dict[str, Any]) -> Table:
    """One row a figure, one column a system: success with its 95% interval, by family and by supplier."""
    table = Table(title="joshi-bench")
    table.add_column("")
    for name in found:
        table.add_column(name.replace("_", " "), justify="right")
    first = next(iter(found.values()))

    def row(label: str, *where: str) -> None:
        cells = []
        for system in found.values():
            value: Any = system
            for key in where:
                value = value[key]
            share = value.get("rate", value.get("mean"))
            cells.append(f"{share:.0%} ({value['low']:.0%} to {value['high']:.0%})")
        table.add_row(plain(label), *cells)

    row(f"tasks done, of {first['tasks']['tasks']}", "tasks", "success")
    for family in first["tasks"]["families"]:
        row(f"  {family.replace('_', ' ')}", "tasks", "families", family)
    for name in first["tasks"]["checks"]:
        row(f"  check: {name.replace('_', ' ')}", "tasks", "checks", name)
    row(f"games won, of {first['games']['games']}", "games", "success")
    for temper in first["games"]["suppliers"]:
        row(f"  {temper}", "games", "suppliers", temper)
    row("agreed, within the limit or not", "games", "agreed")
    row("share won of what there was to win", "games", "gain")
    return table


def _bound(report: dict[str, Any], current: Session) -> dict[str, Any]:
    """The report with what it was made by."""
    from joshi.evaluation.systems import systems
    from joshi.stage import now, versions
    from joshi.workspace import sha256_file

    models = {
        system.name: sha256_file(system.model)
        for system in systems(current.plan, current.workspace)
        if isinstance(system.model, Path) and system.name in report["systems"]
    }
    return {
        "created_at": now(),
        "plan_sha256": current.plan.sha256(),
        "seed": current.plan.seed,
        "versions": versions(),
        "model_sha256": models,
        **report,
    }
