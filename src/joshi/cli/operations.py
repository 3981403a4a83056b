"""deploy, smoke, rollback, releases, serve."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from joshi.cli.session import err, out, print_json, session
from joshi.errors import GateRefused
from joshi.release import deploy as deploys
from joshi.release import rollback as rollbacks
from joshi.release import server
from joshi.release.releases import current as current_release
from joshi.release.releases import list_releases, state_of
from joshi.release.smoke import smoke as smoke_test

Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and do nothing.")]


def add_to(app: typer.Typer) -> None:
    for command in (deploy, smoke, rollback, releases, serve):
        app.command()(command)


def deploy(
    context: typer.Context,
    override: Annotated[
        str | None, typer.Option("--override", help="Release although a gate refused, and why.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Release the evaluated model and switch the env file to it."""
    current = session(context)
    path = current.workspace.model(current.plan.model.name)
    if dry_run:
        out.print(f"would release {path} and set {current.plan.release.variable} in {current.plan.release.env_file}")
        return
    with current.workspace.lock():
        release = deploys.deploy(current.plan, current.workspace, override=override, by=getpass.getuser())
    out.print(f"{release.id} is in use; {release.reviewed}", highlight=False)


def smoke(context: typer.Context, as_json: Json = False) -> None:
    """Ask the release in use as the agents do; exit 3 if an answer is unusable."""
    current = session(context)
    checks = smoke_test(current.plan, current.workspace)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        table = Table("check", "", "seconds", "tokens/s", "detail")
        for c in checks:
            table.add_row(
                c.name, "ok" if c.passed else "FAILED", f"{c.seconds:.1f}", f"{c.tokens_per_second:.0f}", c.detail
            )
        out.print(table)
    if any(not check.passed for check in checks):
        raise GateRefused("the smoke test failed; run 'joshi rollback' to take the release back")


def rollback(
    context: typer.Context,
    release_id: Annotated[str | None, typer.Argument(help="Which release; the one before if left out.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Go back to an earlier release in one step; its bytes are verified first."""
    current = session(context)
    if dry_run:
        out.print(f"would go back to {release_id or 'the release before the one in use'}")
        return
    from joshi.memory import open_memory  # brings the Qdrant client, which takes a second

    with current.workspace.lock():
        release = rollbacks.rollback(current.plan, current.workspace, release_id, by=getpass.getuser())
        with open_memory(current.plan, current.workspace) as memory:
            memory.record("rollback", release=release.id, summary=f"rolled back to {release.id} by {getpass.getuser()}")
    out.print(f"{release.id} is in use", highlight=False)


def releases(context: typer.Context, as_json: Json = False) -> None:
    """List the releases, newest first."""
    current = session(context)
    found = list_releases(current.workspace)
    in_use = current_release(current.workspace)
    if as_json:
        print_json([{**r.model_dump(mode="json"), "state": state_of(r, in_use)} for r in found])
        return
    table = Table("release", "state", "by", "verdict", "overrides", "review", "model sha256")
    for r in found:
        table.add_row(
            r.id, state_of(r, in_use), r.by, r.verdict, str(len(r.overrides)), r.reviewed, r.model_sha256[:12]
        )
    out.print(table)


def serve(
    context: typer.Context,
    port: Annotated[int | None, typer.Option("--port", help="In place of the plan's.")] = None,
) -> None:
    """Serve the release in use over HTTP (OpenAI-compatible) until Ctrl-C."""
    current = session(context)
    err.print("starting llama.cpp's server; stop it with Ctrl-C", style="dim")
    server.serve(current.plan, current.workspace, port)
