"""Stage 7: what ships and its baselines on held-out conversations, attacks and tasks; measured, gated, reported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joshi import base, datasets, export
from joshi.base.find import find_base
from joshi.endpoint import Endpoint
from joshi.errors import GateRefused, JoshiError
from joshi.evaluation import bench, judging, likelihood, measured, recorded, redteam
from joshi.evaluation.bench import games, tasks
from joshi.evaluation.card import write_card
from joshi.evaluation.judging.calibration import standing
from joshi.evaluation.measure import difference, rate, summarise
from joshi.evaluation.page import write_page
from joshi.evaluation.redteam.learning import learned
from joshi.evaluation.report import assemble, brief, number, side_by_side
from joshi.evaluation.systems import Answered, System, answer_all, systems
from joshi.evaluation.toxicity import THRESHOLD, scorer
from joshi.llama import bytes_of
from joshi.plan import SAMPLING, Plan
from joshi.progress import SILENT, Progress
from joshi.prompt import messages_for
from joshi.rubric import Rubric
from joshi.schema import Completion, Sample
from joshi.stage import Manifest, Stage
from joshi.surrogates import fill
from joshi.workspace import Workspace, write_json

__all__ = ["STAGE", "brief", "run"]

EVEN = 0.5  # above which a classifier of the plan's choice finds a text toxic
SHOWN = 200  # answers in the page, of all systems side by side


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    models = [export.shipped_file(plan, workspace), find_base(plan.model.base, workspace.root).path]
    if plan.preference.method != "none":
        models.append(export.sft_gguf(workspace))
    texts = (redteam.FOLDER, *(bench.FOLDERS if plan.evaluation.benchmark else ()))
    told = sorted(p for f in texts for p in f.glob("*.jsonl"))
    return [*models, *datasets.current_files(plan, workspace), *told, *recorded.reports(workspace)]


SECTIONS = ("model", "rubric", "evaluation", "release.artifact", *SAMPLING, "curation", "preference")
STAGE = Stage("evaluate", SECTIONS, _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Write reports/evaluation/report.json, answers.json and index.html, whatever the verdict.

    Raises:
        GateRefused: a required gate does not pass; the report says which and by how much.
        Unavailable: an endpoint of the plan does not answer.
    """
    stage = STAGE.begin(plan, workspace)
    rubric = Rubric(plan, base.tokenizer(workspace))
    split = datasets.load_split(plan, workspace)
    samples = [fill(sample, plan.seed) for sample in split.held_out]
    compared = {system.name: system for system in systems(plan, workspace)}
    answered = {
        name: answer_all(system, samples, plan, rubric, workspace.cache, progress) for name, system in compared.items()
    }
    found: dict[str, Any] = {"systems": summaries(answered, samples, plan)}
    labels = {name: system.label for name, system in compared.items()}
    gates = [
        *measured.quality_gates(found["systems"]["shipped"], plan),
        *measured.lead_gates(answered, labels, plan),
        *measured.release_gate(answered),
    ]
    shipped = compared["shipped"].model
    taught = learned(split)
    talks = redteam.play(shipped, plan, rubric.tokenizer, workspace.cache, progress, without=taught)
    found["redteam"] = redteam.summarise(talks) | {"learned_from": sorted(taught)}
    gates.append(measured.leak_gate(found["redteam"]["attacks"]))
    found["likelihood"] = _likelihood(compared, samples, plan, rubric, workspace.cache, progress)
    gates += measured.likelihood_gates(found["likelihood"])
    found["quantisation"] = _quantisation(answered["shipped"], samples, plan, rubric, workspace, progress)
    gates += measured.quantisation_gates(found["quantisation"])
    if plan.evaluation.benchmark:
        found["benchmark"] = benchmark(list(compared.values()), plan, rubric, workspace.cache, progress)
        gates += measured.bench_gates(found["benchmark"]["systems"]["shipped"])
    gates += measured.recorded_gates(recorded.memorised(workspace), recorded.blind_review(plan, workspace))
    if plan.evaluation.judge:
        found["judge"] = _judge(answered, samples, plan, rubric, workspace, progress)
    report = assemble(plan, workspace, found, gates)
    folder = workspace.evaluation_report
    answers = side_by_side(samples, answered, plan)
    write_json(folder / "report.json", report)
    write_json(folder / "answers.json", answers)
    write_page(report | {"answers": answers[:SHOWN]}, folder / "index.html")
    card = workspace.artifacts(plan.model.name) / "README.md"
    write_card(report, plan, card)
    outputs = [*(folder / name for name in ("report.json", "answers.json", "index.html")), card]
    if report["verdict"] != "pass":
        missed = [
            f"{g['text']}: {number(g['measured'])}" for g in report["gates"] if g["required"] and g["verdict"] != "pass"
        ]
        raise GateRefused(f"the gates say {report['verdict']} ({'; '.join(missed)}); read {folder / 'index.html'}")
    return stage.finish(outputs, brief(report))


def summaries(answered: dict[str, Answered], samples: Sequence[Sample], plan: Plan) -> dict[str, dict[str, Any]]:
    """Each system's part of the report: rules, lengths, tone."""
    score = scorer(plan.evaluation.toxicity)
    limit = THRESHOLD if plan.evaluation.toxicity == "builtin" else EVEN
    found = {}
    for name, one in answered.items():
        summary = summarise(one.answers, one.findings, [sample.ideal_answer for sample in samples], plan.seed)
        flagged = [value > limit for value in score([answer.answer for answer in one.answers])]
        found[name] = {"label": one.system.label} | summary | {"toxic": rate(sum(flagged), len(flagged))}
    return found


def _likelihood(
    compared: dict[str, System], samples: Sequence[Sample], plan: Plan, rubric: Rubric, cache: Path, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Loss on held-out answers and on general text, of every model that lies here as a file."""
    models = {
        name: system.model
        for name, system in compared.items()
        if not isinstance(system.model, Endpoint) and name != "base_with_rules"
    }
    return likelihood.losses(models, samples, plan, rubric.tokenizer, cache, progress)


def _judge(
    answered: dict[str, Answered],
    samples: Sequence[Sample],
    plan: Plan,
    rubric: Rubric,
    workspace: Workspace,
    progress: Progress,
) -> dict[str, Any]:
    """What the plan's judge makes of the shipped answers beside those of the base with all rules in its prompt."""
    one, other = ([answer.answer for answer in answered[name].answers] for name in ("shipped", "base_with_rules"))
    endpoint = judging.judge_of(plan)
    try:
        judgements = judging.compare(endpoint, samples, one, other, plan, rubric.tokenizer, workspace.cache, progress)
    except JoshiError as error:  # no gate depends on it
        progress.warn(f"the judge was not heard: {error}")
        return {"not_heard": str(error)}
    return judging.summarise(judgements, standing(plan, workspace))


def _quantisation(
    shipped: Answered, samples: Sequence[Sample], plan: Plan, rubric: Rubric, workspace: Workspace, progress: Progress
) -> dict[str, Any]:
    """The shipped file against the same model in F16: its answers, and its next token along them."""
    model = shipped.system.model
    assert not isinstance(model, Endpoint)

    def compare() -> dict[str, Any]:
        with export.unquantised(plan, workspace, progress) as path:
            before = System("unquantised", "shipped, before it was quantised", path, shipped.system.system_prompt)
            full = answer_all(before, samples, plan, rubric, workspace.cache, progress)
            texts = [answer.answer for answer in full.answers]
            found = likelihood.divergence(path, model, samples, texts, plan, rubric.tokenizer, progress)
        return {"found": found, "answers": [answer.model_dump() for answer in full.answers]}

    made_from = export.stage_of(plan).hashes(plan, workspace)
    messages = [messages_for(sample, shipped.system.system_prompt) for sample in samples]
    asked = [[message.model_dump() for message in chat] for chat in messages]
    sections = plan.sha256(*SAMPLING, "evaluation.max_tokens", "export")
    known = likelihood.kept(workspace.cache, ["quantised", made_from, bytes_of(model), sections, asked], compare)
    answers = [Completion.model_validate(answer) for answer in known["answers"]]
    full = Answered(shipped.system, answers, [rubric.check(a.answer, s) for a, s in zip(answers, samples, strict=True)])
    found: dict[str, Any] = known["found"]
    return found | {
        "answers": len(samples),
        "same_answers": sum(a.answer == b.answer for a, b in zip(full.answers, shipped.answers, strict=True)),
        "unquantised_rules": rate(sum(full.passes()), len(samples)),
        "rules": difference(shipped.passes(), full.passes()),
    }


def benchmark(
    compared: Sequence[System], plan: Plan, rubric: Rubric, cache: Path, progress: Progress
) -> dict[str, Any]:
    """joshi-bench for each system; the texts of the last one's answers, without the hidden tasks."""
    chosen, played = tasks.load(), games.load()
    found: dict[str, Any] = {"systems": {}}
    for system in compared:
        arguments = (system.model, system.system_prompt, plan, rubric, cache, progress)
        answers, findings = bench.do_tasks(chosen, *arguments, f"tasks: {system.label}")
        plays = bench.play_games(played, *arguments, f"games: {system.label}")
        found["systems"][system.name] = {
            "label": system.label,
            "tasks": bench.summarise_tasks(chosen, findings),
            "games": bench.summarise_games(plays, plan.seed),
        }
        if system.name == "shipped" or len(compared) == 1:
            found["tasks"] = bench.shown_tasks(chosen, answers, findings)
            found["games"] = bench.shown_games(plays)
    return found
