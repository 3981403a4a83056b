"""base show."""

from __future__ import annotations

from typing import Annotated, Any

import psutil
import typer
from rich.table import Table

from joshi import export
from joshi.base import describe
from joshi.base.find import look_at
from joshi.base.gguf_file import GgufFile
from joshi.base.memory import training_memory
from joshi.base.ollama import find_model
from joshi.cli.session import out, plain, print_json, session
from joshi.cli.whole import gpu_memory, template_of
from joshi.plan import Plan


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Look at base models.")
    group.callback()(lambda: None)  # or Typer would make the only command the group itself
    group.command("show")(show)
    app.add_typer(group, name="base")


def show(
    context: typer.Context,
    base: Annotated[str | None, typer.Argument(help="As [model] base in the plan; without it, the plan's own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say what a base is, whether it can be trained and served, and what memory and disk that will take."""
    current = session(context)
    here = Plan() if base and not current.workspace.plan_file.is_file() else current.plan  # to look around first
    line = base or here.model.base
    plan = here.model_copy(update={"model": here.model.model_copy(update={"base": line})})
    with look_at(line, current.workspace.root) as file:
        report = facts_of(file, line, plan)
    if line.startswith("ollama:"):
        model = find_model(line.removeprefix("ollama:"))
        report["ollama"] = {
            "template": model.template, "system": model.system, "parameters": model.parameters,
            "licences": [text.strip().partition("\n")[0] for text in model.licences],
        }  # fmt: skip
    if as_json:
        print_json(report)
        return
    table = Table(show_header=False)
    for name, value in rows_of(report):
        table.add_row(name, plain(value))
    out.print(table)


def facts_of(file: GgufFile, line: str, plan: Plan) -> dict[str, Any]:
    """What a base is, and what it will take here."""
    gpu = gpu_memory()
    facts = describe(file)
    return {
        "line": line,
        "path": line.removeprefix("hf:") if line.startswith("hf:") else str(file.path),
        **facts,
        **template_of(file),
        "imported_bytes": facts["bytes"] if line.startswith("hf:") else None,
        "training_bytes": training_memory(file, plan, gpu is not None).total,
        "available_bytes": gpu or psutil.virtual_memory().available,
        "export_bytes": export.memory_bytes(file, plan),
        "exported_bytes": export.size_bytes(file, plan),
    }


def rows_of(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report in a person's words."""
    gb = {key: f"{value / 1e9:.1f} GB" for key, value in report.items() if key.endswith("bytes") and value is not None}
    fits = "fits" if report["training_bytes"] < report["available_bytes"] else "does not fit"
    rows = [
        ("base", f"{report['name']}, {report['architecture']}, {report['parameters'] / 1e6:,.0f}M weights"),
        ("file", f"{report['path']}, {gb['bytes']}"),
        ("types", ", ".join(f"{count} {kind}" for kind, count in report["types"].items())),
        ("context", f"{report['context_tokens']} tokens"),
        ("licence", str(report["licence"] or "not stated in the file")),
    ]
    if "refused" in report:
        rows.append(("chat template", report["refused"]))
    else:
        rows += [("end of turn", report["end_of_turn"]), ("Ollama template", report["ollama_template"])]
    rows += [
        ("training", f"about {gb['training_bytes']}, {fits} the {gb['available_bytes']} that are free"),
        ("export", f"about {gb['export_bytes']} of memory, a file of about {gb['exported_bytes']}"),
    ]
    if "imported_bytes" in gb:
        rows.insert(
            2, ("import", f"a GGUF of {gb['imported_bytes']} in .joshi/base, made once, a run of rows at a time")
        )
    for name, value in report.get("ollama", {}).items():
        rows.append((f"Ollama's {name}", str(value or "none")))
    return rows
