"""Whether the judge may count: it must have agreed with people's labels, with exactly these weights and this prompt."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from joshi import __version__
from joshi.errors import JoshiError
from joshi.evaluation.judging import VERDICTS, Case, Standing, identity, inconsistency, judge, judge_of, prompt_sha256
from joshi.evaluation.judging.agreement import agreement
from joshi.plan import Plan
from joshi.progress import Progress
from joshi.prompt import ChatTokenizer
from joshi.schema import Record
from joshi.stage import now
from joshi.workspace import Workspace, write_json

FEWEST_LABELS = 50
LEAST_KAPPA = 0.4  # where Landis and Koch (1977) let moderate agreement begin


class Label(Case):
    """What a person says of a case."""

    better: Literal["one", "other", "tie"]


def calibrate(
    labels_file: Path, plan: Plan, workspace: Workspace, tokenizer: ChatTokenizer, progress: Progress
) -> dict[str, Any]:
    """Judge what people judged, and write reports/judge/report.json.

    Raises:
        PlanError: the plan names no judge, or its key is not in the environment.
        JoshiError: the labels cannot be read; names the file and the line.
        Unavailable: the judge does not answer.
    """
    endpoint = judge_of(plan)
    labels, labels_sha256 = read_labels(labels_file)
    if len(labels) < FEWEST_LABELS:
        progress.warn(f"{labels_file} has {len(labels)} labels; a judge is calibrated on at least {FEWEST_LABELS}")
    its_identity = identity(endpoint)
    cases = [Case(**label.model_dump(exclude={"better"})) for label in labels]
    judgements = judge(endpoint, cases, plan, tokenizer, workspace.cache, progress)
    agreed = agreement([label.better for label in labels], [j.better for j in judgements], VERDICTS, plan.seed)
    found = _earned(agreed["low"], agreed["high"], agreed["kappa"], len(labels))
    report = {
        "judge": its_identity,
        "prompt_sha256": prompt_sha256(),
        "labels": {"file": workspace.relative(labels_file), "sha256": labels_sha256, "n": len(labels)},
        "created_at": now(),
        "joshi_version": __version__,
        "seed": plan.seed,
        "calibrated": found.calibrated,
        "why": found.why,
        **agreed,
        "inconsistency": inconsistency(judgements),
        "unparsed": sum(j.better == "unparsed" for j in judgements),
        "items": [
            {"id": j.id, "label": label.better, "judge": j.better, "orders": j.orders, "reasons": j.reasons}
            for label, j in zip(labels, judgements, strict=True)
        ],
    }
    write_json(report_path(workspace), report)
    return report


def report_path(workspace: Workspace) -> Path:
    return workspace.root / "reports" / "judge" / "report.json"


def read_labels(path: Path) -> tuple[list[Label], str]:
    """The labels and the sha256 of their file.

    Raises:
        JoshiError: no such file, no UTF-8, no label at all, a wrong line, or a case labelled twice.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise JoshiError(f"{path} cannot be read ({why}); give a UTF-8 file of JSON Lines") from error
    labels: list[Label] = []
    seen: dict[Any, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            label = Label.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise JoshiError(
                f"{path}:{number}: {where}: {first['msg']}; expected "
                '{"id", "context", "one", "other", "better": "one", "other" or "tie"}'
            ) from error
        if label.one == label.other:
            raise JoshiError(f"{path}:{number}: one and other are the same text; there is nothing to judge")
        for key in (label.id, (label.context, frozenset((label.one, label.other)))):
            if key in seen:
                what = "this id" if key == label.id else "this comparison"
                raise JoshiError(
                    f"{path}:{number}: {what} stands in line {seen[key]} already; a case counts once, so leave one out"
                )
            seen[key] = number
        labels.append(label)
    if not labels:
        raise JoshiError(f"{path} holds no label; a judge is calibrated on at least {FEWEST_LABELS}")
    return labels, hashlib.sha256(content).hexdigest()


def _earned(low: float | None, high: float | None, kappa: float | None, labels: int) -> Standing:
    if low is None or high is None or kappa is None:
        return Standing(False, "kappa is undefined, as only one verdict occurs; label cases that differ")
    shown = f"kappa {kappa:.2f} (95% interval {low:.2f} to {high:.2f}) on {labels} labels"
    if labels < FEWEST_LABELS:
        return Standing(False, f"{shown}, which are fewer than {FEWEST_LABELS}; label more")
    if low < LEAST_KAPPA:
        return Standing(False, f"{shown}; its lower end must reach {LEAST_KAPPA:g}")
    return Standing(True, shown)


class _Judged(Record):
    url: str
    model: str
    digest: str


class _Labelled(Record):
    file: str
    sha256: str
    n: int = Field(ge=0)


class _Calibration(Record, extra="ignore"):
    """What `standing` reads of reports/judge/report.json."""

    judge: _Judged
    prompt_sha256: str
    labels: _Labelled
    kappa: float | None = Field(allow_inf_nan=False)
    low: float | None = Field(allow_inf_nan=False)
    high: float | None = Field(allow_inf_nan=False)


def standing(plan: Plan, workspace: Workspace) -> Standing:
    """Whether the plan's judge may count: calibrated by people's labels, with these weights and this prompt.

    Raises:
        PlanError: the plan names no judge, or its key is not in the environment.
    """
    its_identity = identity(judge_of(plan))
    path = report_path(workspace)
    try:
        found = _Calibration.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Standing(False, "it was never calibrated; run 'joshi judge --labels FILE'")
    except (OSError, ValidationError):
        return Standing(False, f"{workspace.relative(path)} cannot be read; run 'joshi judge --labels FILE' again")
    for name, value in its_identity.items():
        before = getattr(found.judge, name)
        if before != value:
            changed = f"another {name} was calibrated ({before or 'none told'}, now {value or 'none told'})"
            return Standing(False, f"{changed}; run 'joshi judge --labels FILE' again")
    if found.prompt_sha256 != prompt_sha256():
        return Standing(False, "it was calibrated with another prompt; run 'joshi judge --labels FILE' again")
    return _earned(found.low, found.high, found.kappa, found.labels.n)
