"""train, export, evaluate, answer, mask."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.table import Table

from joshi import __version__, base, datasets, export
from joshi.base.find import find_base
from joshi.cli.data import ensure_base
from joshi.cli.session import Session, out, plain, print_json, session
from joshi.cli.whole import gates_table, systems_table
from joshi.errors import GateRefused, JoshiError, PlanError
from joshi.generate import Request, Sampling, generate, seed_of
from joshi.llama import Weights
from joshi.prompt import messages_for
from joshi.release import ollama
from joshi.rubric import Rubric
from joshi.schema import Context, Provenance, Sample
from joshi.window import fit

Model = Annotated[
    Literal["base", "sft", "shipped"], typer.Option("--model", help="Whose answer: the base's, after SFT, or shipped.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")]


def add_to(app: typer.Typer) -> None:
    train = typer.Typer(no_args_is_help=True, help="Train on the frozen dataset.")
    train.command("sft")(train_sft)
    train.command("preference")(train_preference)
    app.add_typer(train, name="train")
    app.command("export")(run_export)
    app.command()(evaluate)
    app.command()(answer)
    app.command()(mask)


def train_sft(context: typer.Context, dry_run: DryRun = False) -> None:
    """Fine-tune a LoRA adapter on the answers."""
    current = session(context)
    plan = current.plan
    if dry_run:
        parts = datasets.load_split(plan, current.workspace)
        out.print(
            f"SFT would train on {len(parts.training)} samples, {plan.sft.epochs} epochs, batch {plan.sft.batch_size}; "
            f"{len(parts.development)} to choose a checkpoint by, {len(parts.held_out)} held out",
            highlight=False,
        )
        return
    _tuned()
    from joshi.training import processes, sft

    processes.start()
    with current.lock():
        manifest = sft.run(plan, current.workspace, current.progress)
    if processes.is_main():
        print_json({k: v for k, v in manifest.metrics.items() if k != "curve"})


def train_preference(context: typer.Context, dry_run: DryRun = False) -> None:
    """Make preference pairs, then train on them with the plan's objective and a length penalty."""
    current = session(context)
    plan = current.plan
    if plan.preference.method == "none":
        raise PlanError('joshi.toml: [preference] method = "none"; set it to "dpo" to train on preferences')
    if dry_run:
        out.print(
            f"{plan.preference.method.upper()} would train on up to {plan.curation.preference_pairs[1]} pairs",
            highlight=False,
        )
        return
    _tuned()
    from joshi.curation import pairs
    from joshi.training import preference, processes

    processes.start()
    with current.lock():
        if processes.is_main():
            if export.SFT_STAGE.current(plan, current.workspace) is None:
                export.run_sft(plan, current.workspace, current.progress)
            if pairs.STAGE.current(plan, current.workspace) is None:
                pairs.run(plan, current.workspace, current.progress)
        processes.wait()
        manifest = preference.run(plan, current.workspace, current.progress)
    if processes.is_main():
        print_json({k: v for k, v in manifest.metrics.items() if k != "curve"})


def _tuned() -> None:
    from joshi.training.allocator import ensure_tuned

    ensure_tuned()


def run_export(
    context: typer.Context,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Write the LoRA alone, as a GGUF to put beside the base.")
    ] = False,
) -> None:
    """Merge the adapter into the base and write the quantised GGUF with its Modelfile."""
    current = session(context)
    run = export.run_adapter if adapter else export.run
    with current.workspace.lock():
        print_json(run(current.plan, current.workspace, current.progress).metrics)
    if adapter:
        current.progress.say(_where_to_serve(ollama.version(ollama.address(os.environ))))


def _where_to_serve(found: str | None) -> str:
    """Which server takes an adapter: it depends on Ollama's version."""
    merged = "'joshi export' writes a merged model, which every version takes"
    if found is None:
        return (
            "no Ollama answers here to ask for its version: before 0.34.1 'ollama create -f models/Modelfile-adapter' "
            f"takes the adapter, later ones refuse it; {merged}"
        )
    if ollama.makes_adapters(found):
        return f"Ollama {found} takes it: ollama create NAME -f models/Modelfile-adapter"
    return f"Ollama {found} no longer makes models with an adapter; llama.cpp's server takes it, and {merged}"


def evaluate(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Answer the held-out conversations, measure, and judge by the gates; exit 3 if a required gate does not pass."""
    from joshi import evaluation  # brings scipy and matplotlib, which take a second

    current = session(context)
    folder = current.workspace.evaluation_report
    refusal: GateRefused | None = None
    with current.workspace.lock():
        try:
            evaluation.run(current.plan, current.workspace, current.progress)
        except GateRefused as error:  # the report is there, and tells more than the refusal
            refusal = error
    text = (folder / "report.json").read_text(encoding="utf-8")
    if as_json:
        typer.echo(text, nl=False)
    else:
        found = evaluation.brief(json.loads(text))
        out.print(systems_table(found["systems"]))
        out.print(gates_table(found["gates"]))
        out.print(f"verdict: {found['verdict']}; read {folder / 'index.html'}")
    if refusal:
        raise refusal


class Question(BaseModel):
    """A line of --batch: an instruction and a context record."""

    model_config = ConfigDict(extra="forbid")
    id: str
    instruction: str
    context: Context


def answer(
    context: typer.Context,
    instruction: Annotated[str | None, typer.Option("--instruction", help="What to do.")] = None,
    context_file: Annotated[Path | None, typer.Option("--context", help="A JSON file with a context record.")] = None,
    batch: Annotated[Path | None, typer.Option("--batch", help="JSON Lines of {id, instruction, context}.")] = None,
    model: Model = "shipped",
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Print a model's reply with the rubric's findings beside it."""
    current = session(context)
    ensure_base(current)
    questions = _batch(batch) if batch else [_question(instruction, context_file)]
    samples = [_sample(question) for question in questions]
    tokenizer = base.tokenizer(current.workspace)
    rubric = Rubric(current.plan, tokenizer)
    requests = [
        Request(s.id, tuple(messages_for(s, current.plan.model.system_prompt)), seed_of(current.plan, s.id))
        for s in samples
    ]
    sampling = Sampling(
        current.plan.release.temperature, current.plan.release.top_p, current.plan.evaluation.max_tokens
    )
    answers = generate(
        weights_of(current, model), requests, sampling, current.plan, tokenizer, current.workspace.cache,
        current.progress, "answering",
    )  # fmt: skip
    for sample, reply in zip(samples, answers, strict=True):
        findings = rubric.check(reply.answer, sample)
        record = reply.model_dump() | {"findings": [finding.model_dump() for finding in findings]}
        if batch:
            typer.echo(json.dumps(record, ensure_ascii=False))
        elif as_json:
            print_json(record)
        else:
            out.print(plain(reply.answer))
            table = Table(show_header=False, box=None)
            for finding in findings:
                table.add_row("✓" if finding.passed else "✗", finding.rule, plain(finding.message))
            out.print(table)


def weights_of(current: Session, model: str) -> Weights:
    plan, workspace = current.plan, current.workspace
    path = {
        "base": find_base(plan.model.base, workspace.root).path,
        "sft": export.sft_gguf(workspace),
        "shipped": export.shipped_file(plan, workspace),
    }[model]
    if not path.is_file():
        raise JoshiError(f"{path} does not exist; run 'joshi run' first, or ask the base with --model base")
    return export.shipped(plan, workspace) if model == "shipped" else path


def _question(instruction: str | None, context_file: Path | None) -> Question:
    if instruction is None or context_file is None:
        raise PlanError("answer needs --instruction TEXT and --context FILE, or --batch FILE")
    try:
        found = json.loads(context_file.read_text(encoding="utf-8"))
        return Question(id=context_file.stem, instruction=instruction, context=Context.model_validate(found))
    except ValidationError as error:
        first = error.errors()[0]
        raise JoshiError(
            f"{context_file}: {'.'.join(map(str, first['loc']))}: {first['msg']}; expected a context record"
        ) from error
    except (OSError, ValueError) as error:
        raise JoshiError(f"{context_file} is no JSON file: {error}; give a context record") from error


def _batch(path: Path) -> list[Question]:
    questions = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise JoshiError(f"{path} cannot be read: {error}; give a UTF-8 file of JSON Lines") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                questions.append(Question.model_validate_json(line))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or "the line"
                raise JoshiError(
                    f"{path}:{number}: {where}: {first['msg']}; expected {{id, instruction, context}}"
                ) from error
    return questions


def _sample(question: Question) -> Sample:
    origin = Provenance(source="command line", conversation_id=question.id, turn=0, tool_version=__version__)
    return Sample(
        id=question.id, instruction=question.instruction, context=question.context, ideal_answer="", provenance=origin
    )


def mask(
    context: typer.Context,
    sample_id: Annotated[str | None, typer.Argument(help="Which sample; the first one if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show a training sample's tokens; those that carry loss are marked."""
    current = session(context)
    everything = {sample.id: sample for sample in datasets.load_split(current.plan, current.workspace)}
    chosen = everything.get(sample_id) if sample_id else next(iter(everything.values()))
    if chosen is None:
        raise JoshiError(f"no frozen sample has the id {sample_id!r}; 'joshi dataset show' names the version's file")
    tokenizer = base.tokenizer(current.workspace)
    fitted = fit(chosen, current.plan, tokenizer)
    encoded = fitted.encoded
    if as_json:
        rows: list[dict[str, Any]] = [
            {"id": i, "text": tokenizer.decode([i]), "trained": trained}
            for i, trained in zip(encoded.ids, encoded.trained, strict=True)
        ]
        counts = {"tokens": len(encoded.ids), "trained": encoded.answer_tokens, "turns_cut": fitted.turns_cut}
        print_json({"sample": chosen.id, **counts, "rows": rows})
        return
    first = encoded.trained.index(True)
    prompt, trained_text = tokenizer.decode(encoded.ids[:first]), tokenizer.decode(encoded.ids[first:])
    if sys.stdout.isatty():
        out.print(plain(prompt, "dim") + plain(trained_text, "bold green"))
    else:
        typer.echo(f"{prompt}⟦{trained_text}⟧")
    cut = f", {fitted.turns_cut} oldest turns cut to fit max_length" if fitted.turns_cut else ""
    out.print(f"{len(encoded.ids)} tokens, {encoded.answer_tokens} trained (marked){cut}", highlight=False)
