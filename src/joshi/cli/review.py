"""review: the room and its accounts, the blind review, decisions out and in."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from joshi import review as reviews
from joshi.cli.data import ensure_base
from joshi.cli.session import Session, err, out, plain, print_json, session

Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def add_to(app: typer.Typer) -> None:
    review = typer.Typer(help="Let people decide: in a browser, or in a file.")
    review.callback(invoke_without_command=True)(room)
    review.command("add-reviewer")(add_reviewer)
    review.command("list-reviewers")(list_reviewers)
    review.command("remove-reviewer")(remove_reviewer)
    review.command("blind")(blind)
    review.command("export")(export)
    review.command("import")(take)
    app.add_typer(review, name="review")


def room(
    context: typer.Context,
    host: Annotated[str | None, typer.Option("--host", help="In place of the plan's.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="In place of the plan's; 0: any that is free.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy that speaks TLS guards the way; allows any --host.")
    ] = False,
    events: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write every event as JSON Lines, and end.")
    ] = None,
) -> None:
    """Serve the review room until Ctrl-C; reviewers log in with the tokens of their accounts."""
    if context.invoked_subcommand is not None:
        return
    current = session(context)
    if events is not None:
        n = reviews.export_events(events, current.plan, current.workspace)
        err.print(f"{n} events are in {events}", highlight=False)
        return
    from joshi.review.room import serve  # brings FastAPI, which takes a second

    changed = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    plan = current.plan.model_copy(update={"review": current.plan.review.model_copy(update=changed)})
    ensure_base(current)
    serve(plan, current.workspace, behind_proxy, _say)


def _say(address: str) -> None:
    typer.echo(address)
    err.print("the review room is open; stop it with Ctrl-C", style="dim", highlight=False)


def add_reviewer(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What decisions are signed with.")],
    role: Annotated[
        str, typer.Option("--role", help="annotator; specialist, who may reopen items; or auditor, who only reads.")
    ] = "annotator",
) -> None:
    """Make a reviewer's account; its token is shown this once and kept nowhere."""
    from joshi.review import accounts

    current = session(context)
    with _store(current) as store, store.writing() as connection:
        token = accounts.add(connection, name, role, datetime.now(UTC))
    typer.echo(token)
    err.print(plain(f"this is the token of {name}; it is not shown again"))


def list_reviewers(context: typer.Context, as_json: Json = False) -> None:
    """Names, roles and since when."""
    from joshi.review import accounts

    current = session(context)
    with _store(current) as store, store.reading() as connection:
        found = accounts.accounts(connection)
    if as_json:
        print_json([vars(one) for one in found])
        return
    table = Table("name", "role", "since", "removed")
    for one in found:
        table.add_row(plain(one.name), one.role, one.created_at[:10], (one.removed_at or "")[:10])
    out.print(table)


def remove_reviewer(
    context: typer.Context, name: Annotated[str, typer.Argument(help="Whose account ends.")]
) -> None:  # fmt: skip
    """End an account: its token and log-ins hold no longer; its decisions stay."""
    from joshi.review import accounts

    current = session(context)
    with _store(current) as store, store.writing() as connection:
        accounts.remove(connection, name, datetime.now(UTC))
    err.print(plain(f"{name} can no longer log in"))


def blind(
    context: typer.Context,
    baseline: Annotated[
        str, typer.Option("--baseline", help="The other system, as the evaluation names it.")
    ] = "base_with_rules",
    close: Annotated[
        bool, typer.Option("--close", help="End the open session as it stands, and write its report.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Begin a blind review of the last evaluation's answers: what ships beside a baseline, sides sealed."""
    from joshi.review.rooms import blind as rooms

    current = session(context)
    with _store(current) as store:
        if close:
            n = rooms.close(store, current.plan, current.workspace, datetime.now(UTC))
            err.print(f"the blind review is closed with {n} judgements; read reports/review/index.html")
            return
        found = rooms.start(store, current.plan, current.workspace, baseline, datetime.now(UTC))
    if as_json:
        print_json(found)
    if found["items"] < found["wanted"]:
        err.print(
            f"the evaluation has {found['items']} answers, the plan asks for {found['wanted']} "
            "([review] blind_samples); hold out more conversations for a larger review",
            style="yellow",
            highlight=False,
        )
    err.print(
        f"{found['items']} comparisons and {found['repeats']} repeats wait in the blind room of 'joshi review'",
        highlight=False,
    )


def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to write.")],
    broken: Annotated[bool, typer.Option("--broken", help="Also those that break a rule, to be rewritten.")] = False,
) -> None:
    """Write the pending candidates as JSON Lines for a person to decide on."""
    current = session(context)
    n = reviews.export(file, current.workspace, broken, current.plan)
    err.print(f"{n} pending candidates are in {file}; set each status to approved or rejected, edit ideal_answer where "
              f"needed, then run 'joshi review import {file} --reviewer NAME'", highlight=False)  # fmt: skip


def take(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The edited export.")],
    reviewer: Annotated[str, typer.Option("--reviewer", help="Who decided.")],
) -> None:
    """Take a person's decisions; each is kept for good with name and time."""
    current = session(context)
    with current.workspace.lock():
        print_json(reviews.take(file, reviewer, current.plan, current.workspace))


def _store(current: Session) -> reviews.Store:
    return reviews.open_store(current.plan, current.workspace)
