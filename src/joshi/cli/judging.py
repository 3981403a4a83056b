"""judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from joshi import base
from joshi.cli.data import ensure_base
from joshi.cli.session import out, plain, print_json, session
from joshi.errors import GateRefused


def add_to(app: typer.Typer) -> None:
    app.command()(judge)


def judge(
    context: typer.Context,
    labels: Annotated[
        Path,
        typer.Option(
            "--labels", help='JSON Lines by people: {id, context, one, other, better: "one", "other", "tie"}.'
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare the plan's judge with people; exit 3 unless its figures may count. It can warn, never approve."""
    from joshi.evaluation.judging import (
        calibration,  # brings scipy, which takes a second
        judge_of,
    )

    current = session(context)
    judge_of(current.plan)  # a plan without a judge is told before anything starts
    calibration.read_labels(labels)
    with current.workspace.lock():
        ensure_base(current)
        tokenizer = base.tokenizer(current.workspace)
        report = calibration.calibrate(labels, current.plan, current.workspace, tokenizer, current.progress)
    if as_json:
        print_json(report)
    else:
        _show(report)
    if not report["calibrated"]:
        raise GateRefused(f"this judge is not calibrated: {report['why']}; its figures will say so")


def _show(report: dict[str, Any]) -> None:
    out.print(_confusion(report["confusion"]))
    who, n, agreed, changed = report["judge"], report["labels"]["n"], report["agreement"], report["inconsistency"]
    kappa = "kappa: undefined, as only one verdict occurs"
    if report["kappa"] is not None:
        kappa = f"kappa: {report['kappa']:.2f} (95% interval {report['low']:.2f} to {report['high']:.2f})"
    for line in (
        f"judge: {who['model']} at {who['url']}, digest {who['digest'] or 'not told'}",
        kappa,
        f"agreement: {agreed['rate']:.0%} of {n} labels (95% interval {agreed['low']:.0%} to {agreed['high']:.0%})",
        f"inconsistent: {changed['rate']:.0%} of {changed['of']} change with the order and count as ties: "
        f"{changed['first']} prefer the first place, {changed['second']} the second, {changed['tie_in_one_order']} are "
        "a tie in one order",
        f"unparsed: {report['unparsed']} of {n}",
        *([f"calibrated: {report['why']}"] if report["calibrated"] else []),
    ):
        out.print(plain(line), highlight=False, soft_wrap=True)


def _confusion(confusion: dict[str, dict[str, int]]) -> Table:
    table = Table(title="People's verdicts in rows, the judge's in columns")
    table.add_column("")
    for said in next(iter(confusion.values())):
        table.add_column(said, justify="right")
    for label, row in confusion.items():
        if label == "unparsed":  # no person says that
            continue
        table.add_row(label, *map(str, row.values()))
    return table
