"""Delete a person's samples from every version, for good: the right to be forgotten.

A frozen version is never rewritten. One that holds a person's samples is withdrawn: its files are deleted, its
manifest stays with a note beside it, and a new version takes what remains. The person's fingerprints are kept, so
that curating the same transcripts again brings nothing back.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from joshi import review
from joshi.curation import Rejected
from joshi.curation.fingerprints import fingerprints, forgotten_path, load_key
from joshi.datasets import DatasetManifest, counted, versions_of, withdrawn_path, write_manifest
from joshi.datasets.card import write_card
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.schema import Preference, Sample, read_records, to_jsonl
from joshi.stage import now
from joshi.workspace import Workspace, sha256_text, write_json, write_text

# Reports that quote messages and answers. Their figures stay: report.json of an evaluation names no held-out text.
QUOTING = ("evaluation/answers.json", "evaluation/index.html", "judge/report.json", "memorised/report.json")


@dataclass
class Found:
    """Where a person's samples are."""

    people: list[str]  # fingerprints
    samples: set[str] = field(default_factory=set)
    conversations: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    versions: dict[int, int] = field(default_factory=dict)  # version: how many samples it holds
    candidates: int = 0

    def take(self, samples: Iterable[Sample]) -> int:
        """Note those of the samples that carry one of the fingerprints; how many they are."""
        hits = [sample for sample in samples if not set(self.people).isdisjoint(sample.provenance.people)]
        self.samples |= {sample.id for sample in hits}
        self.conversations |= {sample.provenance.conversation_id for sample in hits}
        self.sources |= {sample.provenance.source for sample in hits}
        return len(hits)

    def report(self) -> dict[str, object]:
        return {
            "samples": len(self.samples),
            "conversations": sorted(self.conversations),
            "versions": {f"v{version}": n for version, n in self.versions.items()},
            "candidates": self.candidates,
            "sources": sorted(self.sources),
        }


def find(people: Sequence[str], plan: Plan, workspace: Workspace, elsewhere: int = 0) -> Found:
    """The samples made from conversations in which one of these names, addresses or numbers was masked.

    Args:
        elsewhere: how many records outside the datasets are theirs; then no sample need be.

    Raises:
        JoshiError: the key is missing, or nothing carries the fingerprints.
    """
    found = Found(fingerprints(load_key(workspace), people))
    folder = workspace.dataset(plan.curation.dataset)
    for manifest in versions_of(plan, workspace):
        path = folder / f"sft_v{manifest.version}.jsonl"
        if path.exists() and (n := found.take(read_records(path, Sample))):
            found.versions[manifest.version] = n
    for path in (workspace.candidates, workspace.feedback_candidates):
        if path.exists():
            found.candidates += found.take(read_records(path, Sample))
    for path in workspace.to_rewrite:
        found.candidates += found.take(item.sample for item in read_records(path, Rejected))
    if not found.samples and not elsewhere:
        raise JoshiError(
            f"no sample was made from a conversation with {', '.join(people)}; give the name as the transcripts "
            "write it, or the mail address; nothing was changed"
        )
    return found


def forget(found: Found, reason: str, plan: Plan, workspace: Workspace) -> DatasetManifest | None:
    """Delete what `find` found; return the new version, or None where no version held a sample.

    The order is such that a kill at any point leaves either the old state or a state that running the command again
    completes: fingerprints first, the new version, then the withdrawals.
    """
    _remember(found, reason, workspace)
    _clear_curation(found, workspace)
    review.forget(found.samples, plan, workspace)
    newest = _new_version(found, reason, plan, workspace) if found.versions else None
    for version in found.versions:
        _withdraw(version, found, reason, newest, plan, workspace)
    for made in (workspace.cache, workspace.scratch):  # from the samples: answers, copies; all can be made again
        if made.exists():
            shutil.rmtree(made)
    for name in QUOTING:
        (workspace.root / "reports" / name).unlink(missing_ok=True)
    return newest


def _remember(found: Found, reason: str, workspace: Workspace) -> None:
    path = forgotten_path(workspace)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    line = {"at": now(), "reason": reason, "people": found.people, "samples": len(found.samples)}
    write_text(path, before + json.dumps(line, ensure_ascii=False) + "\n", permissions=0o600)


def _clear_curation(found: Found, workspace: Workspace) -> None:
    for path in (workspace.candidates, workspace.feedback_candidates):
        if path.exists():
            kept = [s for s in read_records(path, Sample) if s.id not in found.samples]
            write_text(path, to_jsonl(kept))
    for path in workspace.to_rewrite:
        left = [r for r in read_records(path, Rejected) if r.sample.id not in found.samples]
        write_text(path, to_jsonl(left))


def _new_version(found: Found, reason: str, plan: Plan, workspace: Workspace) -> DatasetManifest:
    """The newest version without the person's samples, its preference pairs too."""
    folder = workspace.dataset(plan.curation.dataset)
    last = versions_of(plan, workspace)[-1]
    if last.version not in found.versions:  # a run that was killed had made it, or the person left before it
        return last
    kept = [s for s in read_records(folder / f"sft_v{last.version}.jsonl", Sample) if s.id not in found.samples]
    version = last.version + 1
    validation = [talk for talk in last.validation if talk not in found.conversations]
    development = [talk for talk in last.development if talk not in found.conversations]
    texts = {f"sft_v{version}.jsonl": to_jsonl(kept)}
    pairs = folder / f"preferences_v{last.version}.jsonl"
    if pairs.exists():
        left = [p for p in read_records(pairs, Preference) if p.sample_id not in found.samples]
        texts[f"preferences_v{version}.jsonl"] = to_jsonl(left)
    for name, text in texts.items():
        write_text(folder / name, text)
    counts = counted(kept, validation, development)
    manifest = last.model_copy(
        update={
            "version": version,
            "created_at": now(),
            "key": sha256_text(f"{last.key}:{found.people}"),
            "files": {name: sha256_text(text) for name, text in texts.items()},
            "counts": counts,
            "validation": validation,
            "development": development,
            "approvals": {s.id: last.approvals[s.id] for s in kept if s.id in last.approvals},
            "forgot": {
                "from": f"v{last.version}",
                "samples": found.versions[last.version],
                "reason": reason,
            },
        }
    )
    write_text(folder / "README.md", write_card(plan, version, kept, counts, manifest.key))
    write_manifest(folder, manifest)
    return manifest


def _withdraw(
    version: int, found: Found, reason: str, newest: DatasetManifest | None, plan: Plan, workspace: Workspace
) -> None:
    folder = workspace.dataset(plan.curation.dataset)
    write_json(
        withdrawn_path(plan, workspace, version),
        {
            "at": now(),
            "reason": reason,
            "samples": found.versions[version],
            "replaced_by": newest.version if newest else None,
        },
    )
    for name in (f"sft_v{version}.jsonl", f"preferences_v{version}.jsonl", f"preferences_manifest_v{version}.json"):
        (folder / name).unlink(missing_ok=True)


def trained_on(versions: Iterable[int], plan: Plan, workspace: Workspace) -> list[Path]:
    """run.json of adapters that were trained on one of the versions and so may still speak of the person."""
    names = {f"sft_v{version}.jsonl" for version in versions}
    runs = sorted(workspace.artifacts(plan.model.name).glob("*/run.json"))
    return [run for run in runs if any(name in run.read_text(encoding="utf-8") for name in names)]
