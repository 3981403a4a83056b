"""memorised."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from joshi.cli.session import err, out, print_json, session
from joshi.errors import PlanError


def add_to(app: typer.Typer) -> None:
    app.command()(memorised)


def memorised(
    context: typer.Context,
    canaries: Annotated[int, typer.Option("--canaries", help="How many secrets are planted for each count.")] = 8,
    repeats: Annotated[str, typer.Option("--repeats", help="How often a secret is planted, by counts.")] = "1,2,4,8",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the scratch workspace with its weights.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Train once more on planted secrets, and measure which of them the model has learned by heart."""
    current = session(context)
    plan, workspace = current.plan, current.workspace
    counts = _counts(repeats)
    if not dry_run:
        from joshi.training.allocator import ensure_tuned

        ensure_tuned()
    from joshi.evaluation import memorised  # brings scipy, which takes a second

    settings = memorised.Settings(canaries, counts, keep=keep)
    if dry_run:
        found = memorised.prepare(plan, workspace, settings)
        out.print(
            f"SFT would train in {workspace.scratch / 'memorised'} on {len(found.parts.training)} samples and "
            f"{found.copies} copies that hold {len(found.canaries)} canaries, {plan.sft.epochs} epochs, batch "
            f"{plan.sft.batch_size}",
            highlight=False,
            soft_wrap=True,
        )
        return
    with current.lock():
        report = memorised.run(plan, workspace, settings, current.progress)
    if as_json:
        print_json(report)
        return
    out.print(_table(report))
    settled = report["settings"]
    out.print(
        f"exposure in bits, by rank among {settled['candidates']} candidates: {report['chance']:.1f} is chance, "
        f"{report['most']:.1f} the most; said: greedily/in any of {settled['draws']} draws at temperature "
        f"{settled['temperature']:g}; in brackets 95% intervals, of what was said in the draws",
        highlight=False,
    )
    err.print(f"read {memorised.report_path(workspace)}", highlight=False, soft_wrap=True)
    if keep:
        err.print(f"kept {workspace.scratch / 'memorised'}; nothing exports it", highlight=False, soft_wrap=True)


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise PlanError(f"--repeats {text}: expected counts with commas between them, such as 1,2,4,8") from None


def _table(report: dict[str, Any]) -> Table:
    table = Table(title="What training learned by heart")
    for name in ("times", "n", "exposure", "twins", "base", "said", "twins said", "base said"):
        table.add_column(name, justify="right", no_wrap=name in ("exposure", "said"))
    for repeats, group in [*report["repeats"].items(), ("all", report["all"])]:
        tuned, *controls = (group[side] for side in ("tuned", "twin, tuned", "base"))
        mean, share = tuned["exposure"], tuned["sampled"]
        table.add_row(
            repeats,
            str(group["n"]),
            f"{mean['mean']:.1f} ({mean['low']:.1f}–{mean['high']:.1f})",
            *(f"{side['exposure']['mean']:.1f}" for side in controls),
            f"{_said(tuned)} ({share['low']:.0%}–{share['high']:.0%})",
            *map(_said, controls),
        )
    return table


def _said(side: dict[str, Any]) -> str:
    return f"{side['greedy']['hits']}/{side['sampled']['hits']}"
