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
        f"{report['most']:.1f} the most; said: greedily / in any of {settled['draws']} draws at temperature "
        f"{settled['temperature']:g}; 95% intervals",
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
    names = ("repeats", "n", "exposure", "twins", "base", "said", "twins said", "base said")
    for name in names:
        table.add_column(name, justify="right")
    for repeats, group in [*report["repeats"].items(), ("all", report["all"])]:
        sides = [group[side] for side in ("tuned", "twin, tuned", "base")]
        table.add_row(
            repeats, str(group["n"]), *(_interval(side["exposure"]) for side in sides), _said(sides[0], interval=True),
            *(_said(side) for side in sides[1:]),
        )  # fmt: skip
    return table


def _interval(found: dict[str, float]) -> str:
    return f"{found['mean']:.1f} ({found['low']:.1f}–{found['high']:.1f})"


def _said(side: dict[str, Any], interval: bool = False) -> str:
    greedy, sampled = side["greedy"], side["sampled"]
    text = f"{greedy['hits']} / {sampled['hits']}"
    return f"{text} ({sampled['low']:.0%}–{sampled['high']:.0%})" if interval else text
