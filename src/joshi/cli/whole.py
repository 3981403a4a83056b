"""init, run, doctor."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.table import Table

from joshi.base import describe
from joshi.base.find import find_base
from joshi.cli.session import err, out, print_json, session
from joshi.errors import JoshiError, Unavailable
from joshi.llama import threads
from joshi.stage import versions
from joshi.workspace import make_folder, write_text

STARTER = """# The plan: every choice of this workspace. 'joshi plan show' prints all keys with their defaults.

seed = 7

[model]
name = "phi4-joshi"
base = "ollama:phi4" # or gguf:PATH, or builtin:smollm2 to try things out

[transcripts]
paths = ["transcripts"]
"""


def add_to(app: typer.Typer) -> None:
    app.command()(init)
    app.command()(run)
    app.command()(doctor)


def init(
    context: typer.Context,
    example: Annotated[bool, typer.Option("--example", help="Copy the bundled plan and conversations.")] = False,
) -> None:
    """Make a workspace: a plan, a folder for transcripts, a .gitignore."""
    workspace = session(context).workspace
    if workspace.plan_file.exists():
        raise JoshiError(
            f"{workspace.plan_file} exists; it is left as it is. Choose another folder with --workspace DIR"
        )
    if example:
        shutil.copytree(example_folder(), make_folder(workspace.root), dirs_exist_ok=True)
    else:
        make_folder(workspace.root / "transcripts")
        write_text(workspace.plan_file, STARTER)
    write_text(workspace.root / ".gitignore", ".joshi/\n.env\nmodels/\nreleases/\n")
    err.print(
        f"made {workspace.root.resolve()}; put transcripts into transcripts/, then run 'joshi run'", highlight=False
    )


def example_folder() -> Path:
    """The bundled example: beside the source in a checkout, under share/ in an installed package."""
    places = (
        Path(__file__).parents[3] / "examples" / "procwise",
        Path(sys.prefix) / "share" / "joshi" / "examples" / "procwise",
    )
    for place in places:
        if (place / "joshi.toml").is_file():
            return place
    raise Unavailable("the bundled example is not installed; install joshi again, or use a checkout of the source")


def run(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the stages as JSON.")] = False,
) -> None:
    """Run every stage that is not current, in order; a killed run goes on where it stopped."""
    from joshi.training.allocator import ensure_tuned

    current = session(context)
    plan = current.plan  # a wrong plan is told before anything starts
    ensure_tuned()
    from joshi import pipeline

    with current.workspace.lock():
        results, error = pipeline.run(plan, current.workspace, current.progress)
    if as_json:
        print_json({"stages": [asdict(result) for result in results], "ok": error is None})
    else:
        print_summary([asdict(result) for result in results])
    if error is not None:
        raise error


def print_summary(results: list[dict[str, Any]]) -> None:
    table = Table(title="What the run did")
    for name, justify in (("stage", "left"), ("status", "left"), ("seconds", "right"), ("result", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for result in results:
        table.add_row(result["stage"], result["status"], f"{result['seconds']:.0f}", headline(result))
    table.add_row("all", "", f"{sum(result['seconds'] for result in results):.0f}", "", style="bold")
    out.print(table)
    evaluated = next((r["metrics"] for r in results if r["stage"] == "evaluate" and "systems" in r["metrics"]), None)
    if evaluated:
        out.print(systems_table(evaluated["systems"]))


def headline(result: dict[str, Any]) -> str:
    """The one thing worth knowing of a stage."""
    m = result["metrics"]
    if result["error"]:
        return "see below"
    match result["stage"]:
        case "base":
            return f"{m['parameters'] / 1e6:.0f}M parameters, {m['architecture']}"
        case "curate":
            c, r = m["candidates"], m["records"]
            return f"{r['kept']} conversations, {c['mined']} candidates, {c['kept']} pass"
        case "dataset freeze":
            return f"v{m['version']}: {m['train']} to train, {m['validation']} held out"
        case "train sft":
            return f"held-out loss {m['heldout_loss'][0]:.2f} → {m['heldout_loss'][1]:.2f}"
        case "preference pairs":
            return f"{m['pairs']} pairs"
        case "train preference":
            return f"reward accuracy {m['reward_accuracy'][1]:.0%}"
        case "export" | "export sft":
            return f"{m['bytes'] / 1e6:.0f} MB {m['quantization']}, {m['kept_delta']:.0%} of the fine-tune kept"
        case "evaluate":
            return f"verdict: {m['verdict']}"
        case "deploy":
            return f"{m['release']}, {m['reviewed']}"
        case "smoke":
            return f"{m['passed']} checks, {m['tokens_per_second']:.0f} tokens/s"
        case _:
            return "in the memory"


def systems_table(systems: dict[str, Any]) -> Table:
    table = Table(title="Pass rates on held-out conversations")
    table.add_column("")
    for name in systems:
        table.add_column(name.replace("_", " "), justify="right")
    for row in next(iter(systems.values())):
        values = [s[row] for s in systems.values()]
        table.add_row(row, *(f"{v:.0f}" if row == "p90_tokens" else f"{v:.0%}" for v in values))
    return table


def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say whether this machine has what the plan needs."""
    current = session(context)
    file = find_base(current.plan.model.base, current.workspace.root)
    facts = describe(file)
    memory = psutil.virtual_memory()
    # fp32 weights, and what the trie's activations take beside them (docs/performance.md).
    needed = 4 * file.parameters + 4 * current.plan.sft.token_budget * 330_000
    report = {
        "python": platform.python_version(),
        "versions": versions(),
        "threads": threads(current.plan),
        "memory_bytes": memory.total,
        "free_disk_bytes": shutil.disk_usage(current.workspace.root).free,
        "base": {"line": current.plan.model.base, **facts},
        "training_memory_bytes": needed,
        "fits": needed < memory.available,
    }
    if as_json:
        print_json(report)
        return
    table = Table(show_header=False)
    table.add_row("base", f"{facts['name']} ({facts['architecture']}, {file.parameters / 1e6:.0f}M, {facts['types']})")
    table.add_row("threads", str(report["threads"]))
    table.add_row("memory", f"{memory.total / 1e9:.1f} GB, training needs about {needed / 1e9:.1f} GB")
    table.add_row("disk", f"{shutil.disk_usage(current.workspace.root).free / 1e9:.1f} GB free")
    table.add_row("versions", ", ".join(f"{k} {v}" for k, v in versions().items()))
    out.print(table)
