"""deploy, smoke, rollback, releases, serve."""

from __future__ import annotations

import getpass
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from joshi.base.tokenizer import chat_tokenizer
from joshi.cli.session import err, out, plain, print_json, session
from joshi.errors import GateRefused
from joshi.export import shipped_file
from joshi.plan import Plan
from joshi.record import Remember
from joshi.release import deploy as deploys
from joshi.release import rollback as rollbacks
from joshi.release import server
from joshi.release.evidence import evidence
from joshi.release.releases import Release, in_use_or_none, readable_releases, released, state_of, verified_gguf
from joshi.release.smoke import refusal
from joshi.release.smoke import smoke as smoke_test
from joshi.release.switch import require_set, under_way
from joshi.release.targets import model_of, target_of
from joshi.workspace import Workspace, sha256_file

Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
MOST_SHOWN = 160  # characters of an answer in a table
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
    as_json: Json = False,
) -> None:
    """Release the evaluated model: serve it, try it, then switch alias and env file to it."""
    current = session(context)
    plan, workspace = current.plan, current.workspace
    target = target_of(plan, workspace, os.environ)
    if dry_run:
        say_what_deploy_would_do(plan, workspace)
        return
    by, remember = getpass.getuser(), Remember(plan, workspace)
    with workspace.lock():
        release = deploys.deploy(
            plan, workspace, target, override=override, by=by, progress=current.progress, planned=remember.planned
        )
        remember.deployed(release)
    if as_json:
        print_json(release.model_dump(mode="json"))
        return
    out.print(checks_table(release.smoke))
    switched = ", ".join(f"{name}={text.replace('{model}', release.model)}" for name, text in release.variables.items())
    out.print(
        f"{release.id} is in use at {plan.release.target}; {release.reviewed}; {plan.release.env_file} says {switched}",
        highlight=False,
        markup=False,
    )


def say_what_deploy_would_do(plan: Plan, workspace: Workspace) -> None:
    """What is decided already, and what would be switched."""
    path = shipped_file(plan, workspace)
    found = evidence(workspace, sha256_file(path)) if path.is_file() else None
    refused = f"{path} does not exist; run 'joshi export' first" if found is None else found.refusal
    out.print(
        f"would release {path} to {plan.release.target}, try it, and set "
        f"{', '.join(plan.release.variables)} in {plan.release.env_file}",
        highlight=False,
        markup=False,
    )
    out.print(f"refused as things are: {refused}" if refused else "the gates let it through", highlight=False)


def checks_table(checks: Sequence[Mapping[str, Any]]) -> Table:
    """The smoke test; --json has the whole answers."""
    table = Table("check", "", "seconds", "tokens/s", "detail")
    for c in checks:
        state = "ok" if c["passed"] else "FAILED"
        table.add_row(
            c["name"],
            state,
            f"{c['seconds']:.1f}",
            f"{c['tokens_per_second']:.0f}",
            plain(textwrap.shorten(c["detail"], MOST_SHOWN, placeholder=" …")),
        )
    return table


def smoke(context: typer.Context, as_json: Json = False) -> None:
    """Ask what is in use as the agents do, by alias; exit 3 if it is another model or an answer is unusable."""
    current = session(context)
    plan, workspace = current.plan, current.workspace
    release = released(workspace)
    file = verified_gguf(workspace, release)
    target = target_of(plan, workspace, os.environ)
    target.check()
    require_set(plan, workspace, release)
    with target.asking_in_use(release, file) as ask:
        checks = smoke_test(ask, plan, chat_tokenizer(model_of(plan, workspace, release.artifact, file)))
    found = [asdict(check) for check in checks]
    if as_json:
        print_json(found)
    else:
        out.print(checks_table(found))
    if refused := refusal(checks):
        raise GateRefused(f"{refused}; run 'joshi rollback' to take the release back")


def rollback(
    context: typer.Context,
    release_id: Annotated[str | None, typer.Argument(help="Which release; the one before if left out.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Go back to an earlier release in one step, or from the first one to what was there before it."""
    current = session(context)
    plan, workspace = current.plan, current.workspace
    if dry_run:
        out.print(f"would go back to {release_id or 'the release before the one in use'}", highlight=False)
        return
    target, remember = target_of(plan, workspace, os.environ), Remember(plan, workspace)
    with workspace.lock():
        before = in_use_or_none(workspace)
        release = rollbacks.rollback(
            plan, workspace, target, release_id, by=getpass.getuser(), progress=current.progress
        )
        remember.rolled_back(before, release, getpass.getuser())
    if release is not None:
        out.print(f"{release.id} is in use", highlight=False)
    else:
        out.print("no release is in use; alias and env file are as before the first one", highlight=False)


def releases(context: typer.Context, as_json: Json = False) -> None:
    """List the releases, newest first."""
    current = session(context)
    found, damaged = readable_releases(current.workspace)
    in_use = in_use_or_none(current.workspace)
    for sentence in damaged:
        err.print(plain(sentence, "yellow"))
    if as_json:
        print_json([{**r.model_dump(mode="json"), "state": state_of(r, in_use)} for r in found])
        return
    table = Table()
    table.add_column("release", no_wrap=True)  # what a rollback is told
    table.add_column("state")
    table.add_column("what let it through")
    for r in found:
        table.add_row(r.id, state_of(r, in_use), plain(let_through(r)))
    out.print(table)
    if under_way(current.workspace).exists():
        err.print("a switch was cut off; the next deploy or rollback ends it", style="yellow")


def let_through(release: Release) -> str:
    """Gates, people, data and bytes in a sentence."""
    passed = sum(gate.get("verdict") == "pass" for gate in release.gates)
    gates = f", {passed} of {len(release.gates)} gates" if release.gates else ""
    data = f"{release.dataset.get('name')} v{release.dataset.get('version')}" if release.dataset else "unknown data"
    told = [f"{release.verdict}{gates}", release.reviewed, data, f"by {release.by}"]
    told += [f"OVERRIDE by {one.by}: {one.reason}" for one in release.overrides]
    return "; ".join([*told, f"sha256 {release.model_sha256[:12]}"])


def serve(
    context: typer.Context,
    port: Annotated[int | None, typer.Option("--port", help="In place of the plan's.")] = None,
    feedback: Annotated[
        bool, typer.Option("--feedback", help="Take answers and opinions from production instead of serving a model.")
    ] = False,
) -> None:
    """Serve the release in use over HTTP (OpenAI-compatible), or take feedback, until Ctrl-C."""
    current = session(context)
    if feedback:
        from joshi.monitoring.listen import listen  # brings a web server

        listen(current.plan, current.workspace, port)
        return
    err.print("starting llama.cpp's server; stop it with Ctrl-C", style="dim")
    server.serve(current.plan, current.workspace, port)
