"""curate, dataset, redact, check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from rich.table import Table

from joshi import base, curation, datasets
from joshi.cli.session import Session, err, out, print_json, session
from joshi.curation.engine import Engine
from joshi.curation.redaction import redact_text
from joshi.datasets import forget as forgetting
from joshi.errors import GateRefused, JoshiError
from joshi.memory import open_memory
from joshi.rubric import Rubric
from joshi.rubric.learned import warmth
from joshi.schema import Sample
from joshi.surrogates import fill
from joshi.workspace import explain

Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def add_to(app: typer.Typer) -> None:
    app.command()(curate)
    dataset = typer.Typer(no_args_is_help=True, help="Freeze, show, verify and compare dataset versions.")
    dataset.command("freeze")(freeze)
    dataset.command("show")(show)
    dataset.command("verify")(verify)
    dataset.command("diff")(diff)
    dataset.command("forget")(forget)
    app.add_typer(dataset, name="dataset")
    app.command()(redact)
    app.command()(check)


def ensure_base(current: Session) -> None:
    """The base's tokenizer counts tokens for the rubric; import it if that has not happened."""
    if base.STAGE.current(current.plan, current.workspace) is None:
        base.run(current.plan, current.workspace, current.progress)


def curate(
    context: typer.Context,
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders, in place of the plan's.")] = None,
    engine: Annotated[
        Literal["local", "daft", "ray"],
        typer.Option("--engine", help="Where conversations are redacted and mined; the files are the same."),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", metavar="ADDRESS", help="A running Ray cluster; without: Ray starts here."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read, mine, redact, check and dedupe transcripts into candidates."""
    current = session(context)
    if paths:
        current.flags["transcripts.paths"] = json.dumps([str(path.resolve()) for path in paths])
        current.flags["transcripts.databases"] = "[]"
    if ray_address and engine != "ray":
        raise JoshiError(f"--ray-address is for --engine ray, not for --engine {engine}; leave it out, or add it")
    with current.workspace.lock():
        ensure_base(current)
        manifest = curation.run(current.plan, current.workspace, current.progress, Engine(engine, ray_address))
    if as_json:
        print_json(manifest.metrics)
        return
    m = manifest.metrics
    table = Table(title="Curation", show_header=False)
    r, c = m["records"], m["candidates"]
    table.add_row(
        "records read", f"{r['read']} = {r['kept']} kept + {r['rejected']} rejected + {r['quarantined']} quarantined"
    )
    table.add_row("candidates", f"{c['mined']} mined = {c['kept']} kept + {c['rejected']} rejected")
    table.add_row("rejected by", ", ".join(f"{k} {v}" for k, v in m["rejected_by"].items()) or "nothing")
    table.add_row("redacted", ", ".join(f"{v} {k}" for k, v in m["redactions"].items()) or "nothing")
    table.add_row("approved", f"{m['approved']} of {c['kept']}")
    out.print(table)
    for name in manifest.outputs:
        err.print(str(current.workspace.root / name), style="dim", highlight=False)


def freeze(context: typer.Context, as_json: Json = False) -> None:
    """Freeze the approved candidates as the next dataset version."""
    current = session(context)
    with current.workspace.lock():
        manifest = datasets.run(current.plan, current.workspace, current.progress)
    if as_json:
        print_json(manifest.metrics)
    else:
        out.print(f"{manifest.metrics['dataset']} v{manifest.metrics['version']}: {manifest.metrics['sft']} samples")


def show(context: typer.Context) -> None:
    """Print the newest version's manifest."""
    current = session(context)
    newest = datasets.latest(current.plan, current.workspace)
    if newest is None:
        raise JoshiError(f"no version of {current.plan.curation.dataset} is frozen; run 'joshi dataset freeze' first")
    print_json(newest.model_dump(exclude={"approvals"}))


def verify(context: typer.Context, version: Annotated[int, typer.Argument(help="Version number.")]) -> None:
    """Check every frozen file against its sha256; exit 3 and name the file if one changed."""
    current = session(context)
    if changed := datasets.verify(current.plan, current.workspace, version):
        raise GateRefused(f"v{version} is not what was frozen: {', '.join(changed)}; restore it from a backup")
    out.print(f"v{version} is unchanged")


def diff(
    context: typer.Context,
    old: Annotated[int, typer.Argument(help="The earlier version.")],
    new: Annotated[int, typer.Argument(help="The later version.")],
) -> None:
    """Ids of samples added, removed and changed between two versions."""
    current = session(context)
    print_json(datasets.difference(current.plan, current.workspace, old, new))


def forget(
    context: typer.Context,
    people: Annotated[list[str], typer.Argument(help="Names, mail addresses or telephone numbers of one person.")],
    reason: Annotated[
        str, typer.Option("--reason", help="Why; kept with the record, so name nobody.")
    ] = "asked to be forgotten",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a person's samples from every version; what remains becomes a new one."""
    current = session(context)
    plan, workspace = current.plan, current.workspace
    from joshi.curation.fingerprints import fingerprints, load_key
    from joshi.monitoring import heard

    with workspace.lock():
        prints = set(fingerprints(load_key(workspace), people))
        n_heard = heard.count(prints, workspace)
        found = forgetting.find(people, plan, workspace, elsewhere=n_heard)
        runs = [
            str(path.relative_to(workspace.root)) for path in forgetting.trained_on(found.versions, plan, workspace)
        ]
        report = found.report() | {"trained": runs, "new_version": None, "production_answers": n_heard}
        if not dry_run:
            heard.forget(prints, workspace)
            newest = forgetting.forget(found, reason, plan, workspace)
            report["new_version"] = newest.version if newest else None
            with open_memory(plan, workspace) as memory:
                memory.record(
                    "dataset_forgotten",
                    summary=f"{len(found.samples)} samples of {plan.curation.dataset} were deleted: {reason}",
                    dataset=plan.curation.dataset,
                    version=report["new_version"],
                    withdrawn=sorted(found.versions),
                )
    if as_json:
        print_json(report)
        return
    verb = "would be" if dry_run else "were"
    out.print(f"{len(found.samples)} samples of {len(found.conversations)} conversations {verb} deleted")
    if n_heard:
        out.print(f"  and {n_heard} answers and opinions from production")
    for version, n in found.versions.items():
        out.print(
            f"  {n} from v{version}"
            + ("" if dry_run else f"; it is withdrawn, v{report['new_version']} takes its place")
        )
    for run in runs:
        err.print(f"{run}: trained on what was deleted; train and release again", style="yellow", highlight=False)
    for source in sorted(found.sources):
        err.print(f"{source} still holds the conversation itself: delete it there", style="yellow", highlight=False)


def redact(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A text file, or - for standard input.")],
    as_json: Json = False,
) -> None:
    """Print a text without direct identifiers, prices as ranges."""
    current = session(context)
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise JoshiError(f"{file} is not UTF-8 text; convert it and run again") from error
    except OSError as error:
        raise explain(error, Path(file)) from error
    redacted, counts = redact_text(text, current.plan)
    if as_json:
        print_json({"text": redacted, "redactions": counts})
    else:
        typer.echo(redacted, nl=not redacted.endswith("\n"))


def check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON Lines of samples; ideal_answer is what is checked.")],
) -> None:
    """Run the rubric on given answers; JSON Lines of findings come out."""
    current = session(context)
    ensure_base(current)
    rubric = Rubric(current.plan, base.tokenizer(current.workspace))
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise JoshiError(f"{file} cannot be read: {error}; give a UTF-8 file of JSON Lines") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            sample = fill(Sample.model_validate_json(line), current.plan.seed)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise JoshiError(f"{file}:{number}: {where}: {first['msg']}; expected a sample record") from error
        answer = sample.ideal_answer
        findings = rubric.check(answer, sample)
        row = {"id": sample.id, "score": rubric.score(answer, sample), "warmth": round(warmth(answer), 3)}
        typer.echo(json.dumps(row | {"findings": [f.model_dump() for f in findings]}, ensure_ascii=False))
