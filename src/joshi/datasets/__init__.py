"""Stage 4: freeze a version once, split it by conversation, describe it, verify it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from joshi import review
from joshi.datasets.card import write_card
from joshi.datasets.split import select, split
from joshi.errors import GateRefused, JoshiError
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.schema import Sample, read_records, to_jsonl
from joshi.stage import Manifest, Stage, now, read_manifest, versions
from joshi.workspace import Workspace, sha256_file, sha256_text, write_text


class DatasetManifest(BaseModel):
    """manifest_vN.json: what is frozen, from what, approved by whom."""

    dataset: str
    version: int
    created_at: str
    key: str
    files: dict[str, str]
    counts: dict[str, int]
    validation: list[str]  # conversations that the gates judge by; nothing is trained on them or chosen by them
    development: list[str] = []  # conversations that training chooses its checkpoint by; none in versions of old
    sources: dict[str, str]
    redaction: dict[str, object]
    approvals: dict[str, dict[str, str | None]]
    plan_sha256: str
    seed: int
    versions: dict[str, str]
    forgot: dict[str, object] | None = None  # from which version somebody's samples were deleted, how many, why


@dataclass(frozen=True)
class Split:
    """A frozen version's samples, each conversation in one part: to learn from, to choose a checkpoint by, to judge."""

    training: list[Sample]
    development: list[Sample]
    held_out: list[Sample]

    def __iter__(self) -> Iterator[Sample]:
        return iter([*self.training, *self.development, *self.held_out])


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    # Whoever asks whether the version is current, or begins it, asks what people decided anew.
    review.refresh(plan, workspace)
    others = [path for path in (workspace.feedback_candidates, workspace.decisions) if path.exists()]
    return [workspace.candidates, *workspace.to_rewrite, *others]


STAGE = Stage("dataset freeze", ("curation",), _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Freeze the approved samples as the next version; the same inputs give the same version again.

    Raises:
        GateRefused: too few approved samples, with how many wait for review and how to review them.
    """
    stage = STAGE.begin(plan, workspace)
    folder = workspace.dataset(plan.curation.dataset)
    samples = review.decided(workspace)
    approved = [s for s in samples if s.review.status == "approved"]
    _refuse_too_few(samples, approved, plan)
    validation = split(approved, plan.curation.validation_fraction, plan)
    chosen = select(approved, validation, plan)
    rest = [sample for sample in chosen if sample.provenance.conversation_id not in validation]
    development = split(rest, plan.curation.development_fraction, plan) if rest else set()
    counts = counted(chosen, validation, development)
    if not counts["train"]:
        raise GateRefused(
            f"all {len(chosen)} samples within [curation] sft_samples = {list(plan.curation.sft_samples)} belong to "
            f"{len(validation | development)} conversations, of which one is held out for the gates and one to choose "
            "a checkpoint by, so none is left to train on; raise the most, or add transcripts"
        )
    last = latest(plan, workspace)
    if last is not None and last.key == stage.key:
        return stage.finish(_files(folder, last.version), _metrics(last))
    version = (last.version if last else 0) + 1
    files = {f"sft_v{version}.jsonl": to_jsonl(chosen)}
    for name, text in files.items():
        write_text(folder / name, text)
    manifest = DatasetManifest(
        dataset=plan.curation.dataset,
        version=version,
        created_at=now(),
        key=stage.key,
        files={name: sha256_text(text) for name, text in files.items()},
        counts=counts,
        validation=sorted(validation),
        development=sorted(development),
        sources={**_transcripts(workspace), **stage.hashes},
        redaction={"price_band": plan.curation.price_band, "identifiers": "placeholders", "prices": "ranges"},
        approvals={s.id: {"reviewer": s.review.reviewer, "sha256": s.review.approved_sha256} for s in chosen},
        plan_sha256=plan.sha256(),
        seed=plan.seed,
        versions=versions(),
    )
    write_text(folder / "README.md", write_card(plan, version, chosen, counts, stage.key))
    # The manifest is written last: a version without one was never frozen and its number is used again.
    write_manifest(folder, manifest)
    progress.say(
        f"froze {plan.curation.dataset} v{version}: {counts['train']} samples to train, {counts['development']} to "
        f"choose a checkpoint by, {counts['validation']} held out"
    )
    return stage.finish(_files(folder, version), _metrics(manifest))


def counted(samples: Sequence[Sample], validation: Collection[str], development: Collection[str]) -> dict[str, int]:
    """How many samples a version has, in all and in each part."""
    talks = [sample.provenance.conversation_id for sample in samples]
    held_out, to_choose_by = sum(t in validation for t in talks), sum(t in development for t in talks)
    train = len(talks) - held_out - to_choose_by
    return {"sft": len(talks), "train": train, "development": to_choose_by, "validation": held_out}


def write_manifest(folder: Path, manifest: DatasetManifest) -> None:
    """The manifest, and sums beside it that 'sha256sum -c' reads as well: they tell if the manifest itself changed."""
    text = json.dumps(manifest.model_dump(exclude_none=True), indent=1, ensure_ascii=False) + "\n"
    name = f"manifest_v{manifest.version}.json"
    sums = {**manifest.files, name: sha256_text(text)}
    write_text(sums_path(folder, manifest.version), "".join(f"{sha256}  {file}\n" for file, sha256 in sums.items()))
    write_text(folder / name, text)


def sums_path(folder: Path, version: int) -> Path:
    return folder / f"sha256sums_v{version}.txt"


def _transcripts(workspace: Workspace) -> dict[str, str]:
    """sha256 of every transcript that the candidates were curated from."""
    curated = read_manifest(workspace, "curate")
    return curated.inputs if curated else {}


def _refuse_too_few(samples: Sequence[Sample], approved: Sequence[Sample], plan: Plan) -> None:
    fewest = plan.curation.sft_samples[0]
    if len(approved) >= fewest:
        return
    status = Counter(sample.review.status for sample in samples)
    raise GateRefused(
        f"{len(approved)} approved samples, the plan needs {fewest} ([curation] sft_samples): {status['pending']} wait "
        f"for review, {status['rejected']} were rejected. Run 'joshi review' to decide in a browser, or 'joshi review "
        "export FILE', set each status in FILE, then 'joshi review import FILE --reviewer NAME'"
        + ("" if status["pending"] else "; or add transcripts and run 'joshi curate' again")
    )


def _files(folder: Path, version: int) -> list[Path]:
    return [folder / f"sft_v{version}.jsonl", folder / f"manifest_v{version}.json"]


def _metrics(manifest: DatasetManifest) -> dict[str, object]:
    return {"dataset": manifest.dataset, "version": manifest.version, **manifest.counts}


def latest(plan: Plan, workspace: Workspace) -> DatasetManifest | None:
    """The newest frozen version of the plan's dataset."""
    numbers = _numbers(plan, workspace)
    return load(plan, workspace, max(numbers)) if numbers else None


def versions_of(plan: Plan, workspace: Workspace) -> list[DatasetManifest]:
    """Every frozen version, oldest first, those that were withdrawn too."""
    return [load(plan, workspace, number) for number in sorted(_numbers(plan, workspace))]


def _numbers(plan: Plan, workspace: Workspace) -> list[int]:
    folder = workspace.dataset(plan.curation.dataset)
    names = (re.fullmatch(r"manifest_v(\d+)\.json", path.name) for path in folder.glob("manifest_v*.json"))
    return [int(name[1]) for name in names if name]


def withdrawn_path(plan: Plan, workspace: Workspace, version: int) -> Path:
    """The note beside a version that was withdrawn because somebody in it was forgotten."""
    return workspace.dataset(plan.curation.dataset) / f"withdrawn_v{version}.json"


def _refuse_withdrawn(plan: Plan, workspace: Workspace, version: int) -> None:
    path = withdrawn_path(plan, workspace, version)
    if path.exists():
        note = json.loads(path.read_text(encoding="utf-8"))
        raise JoshiError(
            f"v{version} was withdrawn on {note['at']}, since {note['samples']} of its samples had to be forgotten; "
            f"v{note['replaced_by']} takes its place"
        )


def load(plan: Plan, workspace: Workspace, version: int) -> DatasetManifest:
    """One version's manifest.

    Raises:
        JoshiError: there is no such version, or its manifest is damaged.
    """
    path = workspace.dataset(plan.curation.dataset) / f"manifest_v{version}.json"
    try:
        return DatasetManifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise JoshiError(f"{path} does not exist; run 'joshi dataset freeze' first") from None
    except (ValueError, ValidationError, OSError) as error:
        raise JoshiError(f"{path} is damaged ({error}); restore it from a backup") from error


def current_files(plan: Plan, workspace: Workspace) -> list[Path]:
    """The newest version's sample file and manifest; what training depends on."""
    newest = latest(plan, workspace)
    if newest is None:
        raise JoshiError(f"no version of {plan.curation.dataset} is frozen; run 'joshi dataset freeze' first")
    return _files(workspace.dataset(plan.curation.dataset), newest.version)


def load_split(plan: Plan, workspace: Workspace) -> Split:
    """The newest version's samples, verified first.

    Raises:
        JoshiError: none is frozen, a file changed since, or it is of a time when nothing was set aside for training to
            choose by.
    """
    newest = latest(plan, workspace)
    if newest is None:
        raise JoshiError(f"no version of {plan.curation.dataset} is frozen; run 'joshi dataset freeze' first")
    if changed := verify(plan, workspace, newest.version):
        raise JoshiError(f"v{newest.version} is not what was frozen: {', '.join(changed)}; restore it or freeze anew")
    if not newest.development:
        raise JoshiError(
            f"{newest.dataset} v{newest.version} has no development conversations, by which training chooses "
            "the weights it keeps; run 'joshi dataset freeze' to make the next version"
        )
    path = workspace.dataset(newest.dataset) / f"sft_v{newest.version}.jsonl"
    held_out, development = set(newest.validation), set(newest.development)
    parts = Split([], [], [])
    for sample in read_records(path, Sample):
        conversation = sample.provenance.conversation_id
        part = (
            parts.held_out
            if conversation in held_out
            else parts.development
            if conversation in development
            else parts.training
        )
        part.append(sample)
    return parts


def verify(plan: Plan, workspace: Workspace, version: int) -> list[str]:
    """What is not as it was frozen, with the file's name: changed bytes, a missing file, an approval of another text.

    Raises:
        JoshiError: there is no such version, or it was withdrawn.
    """
    _refuse_withdrawn(plan, workspace, version)
    folder = workspace.dataset(plan.curation.dataset)
    sums = sums_path(folder, version)
    expected = _sums(sums) if sums.exists() else {}
    manifest_name = f"manifest_v{version}.json"
    wrong = [f"{name} changed" for name in _changed(folder, {k: v for k, v in expected.items() if k == manifest_name})]
    if wrong:
        return wrong  # what the manifest says is worth nothing now
    manifest = load(plan, workspace, version)
    wrong = [f"{name} changed" for name in _changed(folder, manifest.files)]
    pairs = folder / f"preferences_manifest_v{version}.json"
    if pairs.exists():
        try:
            files = json.loads(pairs.read_text(encoding="utf-8"))["files"]
            wrong += [f"{name} changed" for name in _changed(folder, files) if f"{name} changed" not in wrong]
        except (ValueError, KeyError, TypeError):
            wrong.append(f"{pairs.name} is damaged")
    if not wrong:
        samples = read_records(folder / f"sft_v{version}.jsonl", Sample)
        wrong = [
            f"the approval of {sample.id} is of another text"
            for sample in samples
            if manifest.approvals.get(sample.id, {}).get("sha256") != sha256_text(sample.ideal_answer)
        ]
    return wrong


def _changed(folder: Path, files: Mapping[str, str]) -> list[str]:
    return [name for name, sha in files.items() if not (folder / name).is_file() or sha256_file(folder / name) != sha]


def _sums(path: Path) -> dict[str, str]:
    rows = (line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines() if "  " in line)
    return {name: sha for sha, name in rows}


def difference(plan: Plan, workspace: Workspace, old: int, new: int) -> dict[str, list[str]]:
    """Ids of samples added, removed and changed between two versions."""
    folder = workspace.dataset(plan.curation.dataset)
    for version in (old, new):
        _refuse_withdrawn(plan, workspace, version)
        load(plan, workspace, version)
    before, after = (
        {s.id: sha256_text(s.model_dump_json()) for s in read_records(folder / f"sft_v{v}.jsonl", Sample)}
        for v in (old, new)
    )
    return {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": sorted(i for i in before.keys() & after.keys() if before[i] != after[i]),
    }


def preferences_path(plan: Plan, workspace: Workspace) -> Path:
    """Where the pairs of the newest version lie."""
    newest = latest(plan, workspace)
    if newest is None:
        raise JoshiError(f"no version of {plan.curation.dataset} is frozen; run 'joshi dataset freeze' first")
    return workspace.dataset(plan.curation.dataset) / f"preferences_v{newest.version}.jsonl"
