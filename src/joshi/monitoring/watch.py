"""The daily check: probes asked of what callers get, the day's production answers, held against the release's own.

What the release answered lies in its folder, and as texts: they are measured anew every day beside today's, so that a
change of the rubric is no drift.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from joshi import datasets, embedding
from joshi.base.tokenizer import chat_tokenizer
from joshi.endpoint import Endpoint
from joshi.errors import JoshiError
from joshi.generate import Model, Request, Sampling, generate, seed_of
from joshi.monitoring import heard
from joshi.monitoring.drift.answers import Answers
from joshi.monitoring.drift.judge import Baseline, Settings, Today, judge_day
from joshi.monitoring.drift.page import write_page
from joshi.monitoring.drift.report import assemble
from joshi.monitoring.drift.verdict import DayVerdict, from_json, to_json
from joshi.monitoring.heard import Heard
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.prompt import messages_for
from joshi.release.releases import Release, released, verified_gguf
from joshi.release.targets import model_of, weights_of
from joshi.rubric import RULES, WEIGHTS, Rubric
from joshi.schema import Record, Sample, read_records, to_jsonl
from joshi.surrogates import fill
from joshi.workspace import Workspace, write_json, write_text

DAY = timedelta(days=1)


class Answered(Record):
    """One answer to a probe at release."""

    probe: str
    draw: int
    answer: str


@dataclass(frozen=True)
class Watch:
    """What the check works with; `model` is what callers are answered by."""

    plan: Plan
    workspace: Workspace
    release: Release
    model: Model
    rubric: Rubric
    progress: Progress

    @property
    def folder(self) -> Path:
        return self.workspace.releases / self.release.id / "watch"


def report_folder(workspace: Workspace) -> Path:
    return workspace.root / "reports" / "drift"


def check(plan: Plan, workspace: Workspace, url: str | None, now: datetime, progress: Progress = SILENT) -> DayVerdict:
    """Judge the day of `now`, write reports/drift/{report.json,index.html,history.jsonl}, and return the verdict.

    The first check after a release keeps what it answers as the baseline. The caller holds `workspace.lock("drift")`.

    Args:
        url: of the Ollama server that answers callers; None: the release's file, in llama.cpp.

    Raises:
        JoshiError: nothing is deployed, its file has other bytes, or no dataset to take probes from.
        Unavailable: Ollama does not answer.
    """
    watch = _watch(plan, workspace, url, progress)
    day = now.astimezone(UTC).date()
    probes = _probes(watch)
    kept = _kept_answers(watch, probes)
    before, after = _production(watch, now)
    baseline = Baseline(watch.release.id, _measured(watch, kept), before)
    answers = _ask(watch, probes, plan.monitoring.draws, day.isoformat(), "asking the probes")
    today = Today(day, _measured(watch, answers), after)
    settings = Settings(threshold=plan.monitoring.drift_threshold, seed=plan.seed)
    history = read_history(workspace)
    verdict = judge_day(baseline, today, history, settings)
    others = [one for one in history if (one.day, one.release) != (verdict.day, verdict.release)]
    _write_history([*others, verdict], workspace)
    created_at = now.astimezone(UTC).isoformat(timespec="seconds")
    report = assemble(verdict, others, settings, model=watch.release.model, created_at=created_at)
    write_json(report_folder(workspace) / "report.json", report)
    write_page(report, report_folder(workspace) / "index.html")
    return verdict


def read_history(workspace: Workspace) -> list[DayVerdict]:
    """Every day's verdict, as they were written.

    Raises:
        JoshiError: a line is no verdict.
    """
    path = report_folder(workspace) / "history.jsonl"
    if not path.exists():
        return []
    days = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise JoshiError(f"{path}:{number}: not JSON; restore the file, or delete that line") from error
        days.append(from_json(value, f"{path}:{number}"))
    return days


def _write_history(days: Sequence[DayVerdict], workspace: Workspace) -> None:
    ordered = sorted(days, key=lambda one: (one.day, one.release))
    lines = [json.dumps(to_json(one), ensure_ascii=False) + "\n" for one in ordered]
    write_text(report_folder(workspace) / "history.jsonl", "".join(lines))


def _watch(plan: Plan, workspace: Workspace, url: str | None, progress: Progress) -> Watch:
    release = released(workspace)
    file = verified_gguf(workspace, release)
    whole = model_of(plan, workspace, release.artifact, file)
    model = weights_of(plan, workspace, release.artifact, file) if url is None else Endpoint(url, release.model)
    return Watch(plan, workspace, release, model, Rubric(plan, chat_tokenizer(whole)), progress)


def _probes(watch: Watch) -> list[Sample]:
    """Held-out messages, chosen at the first check after a release and the same ever after."""
    path = watch.folder / "probes.jsonl"
    if path.exists():
        return list(read_records(path, Sample))
    split = datasets.load_split(watch.plan, watch.workspace)
    known = sorted((*split.held_out, *split.development), key=lambda sample: sample.id)
    chosen = random.Random(watch.plan.seed).sample(known, min(watch.plan.monitoring.probes, len(known)))
    probes = [fill(sample, watch.plan.seed) for sample in sorted(chosen, key=lambda sample: sample.id)]
    write_text(path, to_jsonl(probes))
    return probes


def _kept_answers(watch: Watch, probes: Sequence[Sample]) -> list[tuple[Sample, str]]:
    """What the release answered to the probes when it was new."""
    path = watch.folder / "answers.jsonl"
    by_id = {sample.id: sample for sample in probes}
    if not path.exists():
        label = f"keeping what {watch.release.id} answers"
        asked = _ask(watch, probes, watch.plan.monitoring.release_draws, "release", label)
        rows = [
            Answered(probe=sample.id, draw=place // len(probes), answer=text)
            for place, (sample, text) in enumerate(asked)
        ]
        write_text(path, to_jsonl(rows))
    return [(by_id[row.probe], row.answer) for row in read_records(path, Answered) if row.probe in by_id]


def _ask(watch: Watch, probes: Sequence[Sample], draws: int, when: str, label: str) -> list[tuple[Sample, str]]:
    """Every probe `draws` times over, in rounds, with seeds of their own; nothing is taken from a cache."""
    how = watch.release.serving
    requests = [
        Request(
            f"{sample.id}#{draw}",
            tuple(messages_for(sample, how.system)),
            seed_of(watch.plan, when, str(draw), sample.id),
        )
        for draw in range(draws)
        for sample in probes
    ]
    sampling = Sampling(how.temperature, how.top_p, watch.plan.evaluation.max_tokens)
    with tempfile.TemporaryDirectory() as fresh:
        answers = generate(
            watch.model, requests, sampling, watch.plan, watch.rubric.tokenizer, Path(fresh), watch.progress, label
        )
    asked = [sample for _ in range(draws) for sample in probes]
    return [(sample, answer.answer) for sample, answer in zip(asked, answers, strict=True)]


def _production(watch: Watch, now: datetime) -> tuple[Answers | None, Answers | None]:
    """The release's first production answers, once there are enough of them, and those of the last day."""
    most = watch.plan.monitoring
    rows = _one_each(row for row in heard.load(watch.workspace, "answer") if row.release == watch.release.id)
    path = watch.folder / "production.json"
    if not path.exists():
        if len(rows) < most.release_production:
            watch.progress.say(f"{len(rows)} production answers so far; {most.release_production} make a baseline")
            return None, None
        write_json(path, [row.id for row in rows[: most.release_production]])
    first = set(json.loads(path.read_text(encoding="utf-8")))
    since = (now - DAY).astimezone(UTC)
    recent = [row for row in rows if row.id not in first and since < datetime.fromisoformat(row.at) <= now]
    rng = random.Random(f"{watch.plan.seed}:{now.date()}")
    chosen = rng.sample(recent, min(most.production, len(recent)))
    before = [row for row in rows if row.id in first]
    return _measured(watch, map(_pair(watch.plan), before)), _measured(watch, map(_pair(watch.plan), chosen))


def _one_each(rows: Iterable[Heard]) -> list[Heard]:
    """The first answer of each conversation: those of one talk are alike."""
    first: dict[str, Heard] = {}
    for row in rows:
        first.setdefault(row.sample.provenance.conversation_id, row)
    return list(first.values())


def _pair(plan: Plan) -> Callable[[Heard], tuple[Sample, str]]:
    def pair(row: Heard) -> tuple[Sample, str]:
        sample = fill(row.sample, plan.seed)  # placeholders in an answer would break the rubric
        return sample, sample.ideal_answer

    return pair


def _measured(watch: Watch, answers: Iterable[tuple[Sample, str]]) -> Answers:
    """The rubric's view of answers, their lengths and their meaning."""
    rows = list(answers)
    passed = np.array(
        [[finding.passed for finding in watch.rubric.check(text, sample)] for sample, text in rows], bool
    ).reshape(len(rows), len(RULES))
    weights = np.array([WEIGHTS[rule] for rule in RULES])
    return Answers(
        units=tuple(sample.provenance.conversation_id if _is_production(sample) else sample.id for sample, _ in rows),
        scores=np.minimum(passed @ weights, 1.0),
        passed=passed,
        tokens=np.array([watch.rubric.tokenizer.count(text) for _, text in rows], np.int64),
        embeddings=embedding.encode([text for _, text in rows]).astype(np.float64).reshape(len(rows), embedding.SIZE),
    )


def _is_production(sample: Sample) -> bool:
    return sample.provenance.source == "production"


def day_of(text: str) -> date:
    """Raises JoshiError if it is no date."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise JoshiError(f"--day {text}: expected a date such as 2026-01-31") from error
