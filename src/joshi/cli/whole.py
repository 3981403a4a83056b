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

from joshi import export
from joshi.base import describe
from joshi.base.find import look_at
from joshi.base.gguf_file import GgufFile
from joshi.base.memory import training_memory
from joshi.base.tokenizer import chat_tokenizer
from joshi.cli.session import err, out, plain, print_json, session
from joshi.errors import JoshiError, Unavailable
from joshi.export.modelfile import turns_of
from joshi.llama import threads
from joshi.pages.numbers import gate_row
from joshi.plan import Plan
from joshi.stage import versions
from joshi.workspace import make_folder, write_text

STARTER = """# The plan: every choice of this workspace. 'joshi plan show' prints all keys with their defaults.

seed = 7

[model]
name = "phi4-joshi"
base = "ollama:phi4" # or gguf:PATH, hf:FOLDER, or builtin:smollm2 to try things out

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
        out.print(gates_table(evaluated["gates"]))


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
            return f"{m['release']}, {m['reviewed']}; {m['checks']} checks, {m['tokens_per_second']:.0f} tokens/s"
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


def gates_table(gates: list[dict[str, Any]]) -> Table:
    table = Table(title="Gates on the model that ships")
    table.add_column("gate", min_width=12)
    for name in ("measured", "bound", "95% interval", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for gate in map(gate_row, gates):
        said = gate["verdict"] if gate["required"] else f"{gate['verdict']}, advice only"
        table.add_row(gate["name"], gate["measured"], gate["bound"], gate["interval"], str(gate["n"]), said)
    return table


def doctor(
    context: typer.Context,
    memory_gb: Annotated[
        float | None, typer.Option("--memory", min=0.1, help="Judge a GPU of so many GB, such as 40, not this machine.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say whether this machine, or a GPU of a given memory, has what the plan needs."""
    current = session(context)
    plan = current.plan
    memory = psutil.virtual_memory()
    on_gpu = gpu_memory() if memory_gb is None else int(memory_gb * 1e9)
    gpu, available = on_gpu is not None, on_gpu or memory.available
    with look_at(plan.model.base, current.workspace.root) as file:
        facts = describe(file) | template_of(file)
        exported = {"memory_bytes": export.memory_bytes(file, plan), "file_bytes": export.size_bytes(file, plan)}
        needed = training_memory(file, plan, gpu)
        alternatives = {name: training_memory(file, other, gpu).total for name, other in leaner(plan).items()}
    report = {
        "python": platform.python_version(),
        "versions": versions(),
        "threads": threads(plan),
        "memory_bytes": memory.total,
        "free_disk_bytes": shutil.disk_usage(current.workspace.root).free,
        "base": {"line": plan.model.base, **facts},
        "training": {
            "on": "gpu" if gpu else "cpu",
            "available_bytes": available,
            "needed_bytes": needed.total,
            "parts": asdict(needed),
            "fits": needed.total < available,
            "alternatives": alternatives,
        },
        "export": exported,
    }
    if as_json:
        print_json(report)
        return
    table = Table(show_header=False)
    types = ", ".join(f"{count} {kind}" for kind, count in file.types.items())
    base = f"{facts['name']} ({facts['architecture']}, {file.parameters / 1e6:.0f}M: {types})"
    table.add_row("base", plain(base))
    table.add_row("context", f"{facts['context_tokens']} tokens")
    template = facts["refused"] if "refused" in facts else f"turns end with {facts['end_of_turn']}"
    table.add_row("chat template", plain(str(template)))
    table.add_row("threads", str(report["threads"]))
    table.add_row("memory", f"{memory.total / 1e9:.1f} GB")
    table.add_row("disk", f"{shutil.disk_usage(current.workspace.root).free / 1e9:.1f} GB free")
    table.add_row("versions", ", ".join(f"{k} {v}" for k, v in versions().items()))
    parts = ", ".join(f"{name} {value / 1e9:.1f}" for name, value in asdict(needed).items() if value)
    where = "a GPU's" if gpu else "this machine's free"
    table.add_row("training", f"about {needed.total / 1e9:.1f} GB ({parts})")
    table.add_row("", f"{'fits' if needed.total < available else 'does not fit'} {where} {available / 1e9:.1f} GB")
    for name, total in alternatives.items():
        table.add_row("", f"with {name}: {total / 1e9:.1f} GB, {'fits' if total < available else 'does not fit'}")
    room = "fits" if exported["file_bytes"] < report["free_disk_bytes"] else "does not fit the disk"
    size = f"a file of about {exported['file_bytes'] / 1e9:.1f} GB, {room}"
    table.add_row("export", f"about {exported['memory_bytes'] / 1e9:.1f} GB of memory, {size}")
    out.print(table)


def template_of(file: GgufFile) -> dict[str, str]:
    """How the base's turns end and what Ollama is told of them, or why it can't be told."""
    try:
        tokenizer = chat_tokenizer(file)
        return {"end_of_turn": tokenizer.end_token, "ollama_template": turns_of(tokenizer).go()}
    except JoshiError as error:
        return {"refused": str(error)}


def gpu_memory() -> int | None:
    """Bytes of the first GPU that torch sees; None without one, or without torch."""
    try:
        import torch
    except ImportError:
        return None
    return int(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None


def leaner(plan: Plan) -> dict[str, Plan]:
    """The plan with less memory for training, by what was changed."""
    half = max(256, plan.sft.token_budget // 2)
    changes: dict[str, dict[str, Any]] = {
        "recompute = true": {"recompute": True},
        f"token_budget = {half}": {"token_budget": half},
        'quantization = "nf4"': {"quantization": "nf4"},
        'quantization = "nf4" and recompute = true': {"quantization": "nf4", "recompute": True},
    }
    if plan.sft.sharded:  # then 4 bits are not to be had
        changes = {name: change for name, change in changes.items() if "quantization" not in change}
    plans = {
        name: plan.model_copy(update={"sft": plan.sft.model_copy(update=change)}) for name, change in changes.items()
    }
    return {name: other for name, other in plans.items() if other != plan}
