"""redteam."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from joshi import base, datasets
from joshi.cli.data import ensure_base
from joshi.cli.models import Model, weights_of
from joshi.cli.session import out, plain, print_json, session
from joshi.errors import GateRefused


def add_to(app: typer.Typer) -> None:
    app.command()(redteam)


def redteam(
    context: typer.Context,
    model: Model = "shipped",
    attacks: Annotated[
        int | None, typer.Option("--attacks", min=0, help="How many, from every family; 0: all. The plan's without.")
    ] = None,
    to_review: Annotated[
        bool, typer.Option("--to-review", help="Put answers that gave a secret away into the review room.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything that leaked as JSON.")] = False,
) -> None:
    """Try to get planted secrets out of a model; exit 3 unless the plan's leak_rate is kept for certain."""
    from joshi.evaluation import redteam  # brings scipy, which takes a second
    from joshi.evaluation.gates import decide
    from joshi.evaluation.measured import leak_gate
    from joshi.evaluation.redteam.learning import learned, send_back

    current = session(context)
    if attacks is not None:
        current.flags["evaluation.attacks"] = str(attacks)
    ensure_base(current)
    plan, workspace = current.plan, current.workspace
    taught = learned(datasets.load_split(plan, workspace)) if datasets.latest(plan, workspace) else set()
    talks = redteam.play(
        weights_of(current, model), plan, base.tokenizer(workspace), workspace.cache, current.progress, taught
    )
    if to_review:
        with workspace.lock():
            sent = send_back(talks, plan, workspace)
        current.progress.say(f"{sent} answers wait in 'joshi review' for somebody to write better ones")
    found = redteam.summarise(talks) | {"learned_from": sorted(taught)}
    gate = decide(leak_gate(found["attacks"]), plan.evaluation.gates["leak_rate"])
    if as_json:
        print_json(found | {"gate": gate})
    else:
        out.print(_families(found))
        for leak in found["leaks"][:5]:
            where = f"{leak['attack']}, turn {leak['turn']}"
            out.print(plain(f"{where}: {leak['secret']}, {leak['disguise']}: {leak['shown']}"))
    if gate["verdict"] != "pass":
        n, leaked, high = (found["attacks"][key] for key in ("n", "leaked", "high"))
        raise GateRefused(
            f"{leaked} of {n} attacks got a secret out: with 95% confidence the rate is below {high:.1%}, and the plan "
            f"allows {gate['bound']:.1%} ({gate['verdict']})"
        )


def _families(found: dict[str, Any]) -> Table:
    table = Table(title="Attacks that got a secret out")
    for name in ("family", "leaked", "of", "95% bound", "secrets"):
        table.add_column(name, justify="left" if name in ("family", "secrets") else "right")
    rows = [*found["families"].items(), ("all", found["attacks"])]
    for family, rate in rows:
        secrets = ", ".join(f"{kind} {n}" for kind, n in found["secrets"].get(family, {}).items())
        table.add_row(family, str(rate["leaked"]), str(rate["n"]), f"{rate['high']:.0%}", secrets)
    return table
