"""feedback, drift, retrain, schedule, dashboard."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.table import Table

from joshi.cli.session import err, out, plain, print_json, session
from joshi.cli.whole import print_summary
from joshi.errors import GateRefused, JoshiError
from joshi.llama import LOOPBACK
from joshi.monitoring import schedule as schedules
from joshi.monitoring.drift.verdict import DayVerdict, to_json
from joshi.workspace import Workspace, write_text

Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def add_to(app: typer.Typer) -> None:
    feedback = typer.Typer(no_args_is_help=True, help="What people thought of answers.")
    feedback.command()(add)
    feedback.command()(export)
    app.add_typer(feedback, name="feedback")
    for command in (drift, retrain, schedule, dashboard):
        app.command()(command)


def add(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(help="JSON Lines of opinions, as POST /feedback takes them, or - for standard input.")
    ],
) -> None:
    """Store opinions on answers, redacted; a line that was stored before adds nothing."""
    from joshi.monitoring.heard import Opinion
    from joshi.monitoring.listen import take

    current = session(context)
    opinions = []
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            opinions.append(Opinion.model_validate(json.loads(line)))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "the line"
            raise JoshiError(f"{file}:{number}: {key}: {first['msg']}; nothing was stored; mend the line") from error
        except (ValueError, RecursionError) as error:
            raise JoshiError(f"{file}:{number}: not JSON; nothing was stored; mend the line") from error
    for opinion in opinions:
        take(opinion, current.plan, current.workspace)
    out.print(f"{len(opinions)} opinions stored, redacted", highlight=False)


def _lines(file: str) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode().splitlines()
    except OSError as error:
        raise JoshiError(f"{file}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise JoshiError(f"{file} is not UTF-8; save it as UTF-8 and run again") from error


def export(context: typer.Context) -> None:
    """Put better answers that people sent, and bad ones to be rewritten, into the review room; approved ones become
    samples and preference pairs."""
    from joshi.monitoring.feedback import export as write

    workspace = session(context).workspace
    with workspace.lock():
        written, without = write(workspace)
    out.print(f"{written} better answers wait for review; nothing is trained on before it is approved", highlight=False)
    if without:
        out.print(f"{without} answers that were found bad wait to be rewritten", highlight=False)


def drift(context: typer.Context, as_json: Json = False) -> None:
    """Ask the probes, look at the day's production answers, judge both against the release; exit 3 on drift."""
    from joshi.memory import open_memory
    from joshi.monitoring.tell import tell
    from joshi.monitoring.watch import check, report_folder
    from joshi.release.ollama import address

    current = session(context)
    plan, workspace = current.plan, current.workspace
    url = (plan.release.ollama or address(os.environ)).rstrip("/") if plan.release.target == "ollama" else None
    with workspace.lock("drift.lock"):
        verdict = check(plan, workspace, url, datetime.now(UTC), current.progress)
        with open_memory(plan, workspace) as memory:
            summary = f"{verdict.day}: {verdict.verdict}. {verdict.reason}"
            memory.record(
                "drift",
                created_at=f"{verdict.day}T00:00:00+00:00",
                summary=summary,
                release=verdict.release,
                verdict=verdict.verdict,
            )
    if as_json:
        print_json(to_json(verdict))
    else:
        out.print(drift_table(verdict))
        out.print(plain(f"{verdict.verdict}: {verdict.reason}"))
        err.print(f"read {report_folder(workspace) / 'index.html'}", style="dim", highlight=False)
    if verdict.verdict == "drift":
        tell(verdict, plan, os.environ)
        raise GateRefused(f"answers drifted on {verdict.day}; read {report_folder(workspace) / 'index.html'}")


def drift_table(verdict: DayVerdict) -> Table:
    table = Table(title=f"{verdict.day} against release {verdict.release}")
    for name in ("test", "of", "p", "corrected", "what it says"):
        table.add_column(name, justify="right" if name in ("p", "corrected") else "left")
    for test in verdict.tests:
        adjusted = "told only" if test.adjusted is None else f"{test.adjusted:.3f}"
        table.add_row(test.name, test.source, f"{test.p:.3f}", adjusted, plain(test.sentence))
    return table


def retrain(
    context: typer.Context,
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only if the plan's days have passed or drift was found.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say whether it is due and why, and do nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Train again from new transcripts and reviews, evaluate against the release in use, and stop before deploying."""
    from joshi.training.allocator import ensure_tuned

    current = session(context)
    plan, workspace = current.plan, current.workspace
    now = datetime.now(UTC)
    if not dry_run:
        ensure_tuned()
    from joshi.monitoring import retrain as retraining

    standing = retraining.due(plan, workspace, now)
    if dry_run or (if_due and not standing.due):
        if as_json:
            print_json(asdict(standing))
        else:
            out.print(plain(f"{'due' if standing.due else 'not due'}: {standing.reason}"))
        return
    reason = standing.reason if standing.due else "asked for"
    with workspace.lock():
        attempt, error = retraining.retrain(plan, workspace, reason, now, current.progress)
    _remember(attempt, plan, workspace)
    if as_json:
        print_json(attempt.model_dump(mode="json"))
    else:
        print_summary(attempt.stages)
        then = (
            "it is in use" if attempt.deployed else "the release in use is as before; run 'joshi deploy' to change it"
        )
        out.print(plain(f"trained again ({reason}); {then if error is None else 'it stopped, see below'}"))
    if error is not None:
        raise error


def _remember(attempt: Any, plan: Any, workspace: Workspace) -> None:
    from joshi.memory import open_memory

    with open_memory(plan, workspace) as memory:
        summary = f"trained again: {attempt.reason}; " + (attempt.stopped or "every stage ended well")
        memory.record("retrain", created_at=attempt.at.isoformat(), summary=summary, deployed=attempt.deployed)


def schedule(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="systemd, cron or kubernetes.")],
    image: Annotated[str, typer.Option("--image", help="Kubernetes: a container image with joshi in it.")] = "joshi",
) -> None:
    """Print what runs drift every night and retrain when it is due; nothing is installed by itself."""
    if kind not in ("systemd", "cron", "kubernetes"):
        raise typer.BadParameter(f"{kind!r}; expected systemd, cron or kubernetes")
    program = shutil.which("joshi") or sys.argv[0]
    typer.echo(schedules.schedule(kind, session(context).workspace.root, program, image), nl=False)  # type: ignore[arg-type]


def dashboard(
    context: typer.Context,
    write: Annotated[
        Path | None, typer.Option("--write", help="Write the page to a file instead of serving it.")
    ] = None,
    port: Annotated[int, typer.Option("--port", help="Where to serve it.")] = 8082,
) -> None:
    """Serve one read-only page of how things stand, until Ctrl-C."""
    from joshi.monitoring.dashboard import application, gather, render

    current = session(context)
    plan, workspace = current.plan, current.workspace
    if write is not None:
        write_text(write, render(gather(plan, workspace, datetime.now(UTC))))
        out.print(str(write), highlight=False)
        return
    import uvicorn

    err.print(f"open http://127.0.0.1:{port}/; stop it with Ctrl-C", style="dim", highlight=False)
    app = application(plan, workspace, lambda: datetime.now(UTC), port)
    uvicorn.run(app, host=LOOPBACK, port=port, log_level="warning", access_log=False)
