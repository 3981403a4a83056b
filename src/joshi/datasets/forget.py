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

from joshi.curation import Rejected
from joshi.curation.fingerprints import fingerprints, forgotten_path, load_key
from joshi.datasets import DatasetManifest, versions_of, withdrawn_path, write_manifest
from joshi.datasets.card import write_card
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.schema import Preference, Sample, read_records, to_jsonl
from joshi.stage import now
from joshi.workspace import Workspace, sha256_text, write_json, write_text


@dataclass(frozen=True)
class Found:
    """Where a person's samples are."""

    people: list[str]
    samples: set[str]
    conversations: set[str]
    sources: set[str]
    versions: dict[int, list[str]] = field(default_factory=dict)  # version: ids of samples in it
    candidates: int = 0

    def report(self) -> dict[str, object]:
        return {
            "samples": len(self.samples),
            "conversations": sorted(self.conversations),
            "versions": {f"v{version}": len(ids) for version, ids in self.versions.items()},
            "candidates": self.candidates,
            "sources": sorted(self.sources),
        }


def find(people: Sequence[str], plan: Plan, workspace: Workspace) -> Found:
    """The samples made from conversations in which one of these names, addresses or numbers was masked.

    Raises:
        JoshiError: the key is missing, or no sample carries the fingerprints.
    """
    wanted = set(fingerprints(load_key(workspace), people))
    found = Found(sorted(wanted), set(), set(), set())
    folder = workspace.dataset(plan.curation.dataset)
    versions: dict[int, list[str]] = {}
    for manifest in versions_of(plan, workspace):
        path = folder / f"sft_v{manifest.version}.jsonl"
        if path.exists() and (ids := _take(found, wanted, read_records(path, Sample))):
            versions[manifest.version] = ids
    candidates = (
        _take(found, wanted, read_records(workspace.candidates, Sample)) if workspace.candidates.exists() else []
    )
    rejected = workspace.curation / "rejected.jsonl"
    if rejected.exists():
        candidates += _take(found, wanted, (item.sample for item in read_records(rejected, Rejected)))
    found.versions.update(versions)
    if not found.samples:
        raise JoshiError(
            f"no sample was made from a conversation with {', '.join(people)}; give the name as the transcripts "
            "write it, or the mail address; nothing was changed"
        )
    return Found(found.people, found.samples, found.conversations, found.sources, versions, len(candidates))


def _take(found: Found, wanted: set[str], samples: Iterable[Sample]) -> list[str]:
    ids = []
    for sample in samples:
        if not wanted.isdisjoint(sample.provenance.people):
            ids.append(sample.id)
            found.samples.add(sample.id)
            found.conversations.add(sample.provenance.conversation_id)
            found.sources.add(sample.provenance.source)
    return ids


def forget(found: Found, reason: str, plan: Plan, workspace: Workspace) -> DatasetManifest | None:
    """Delete what `find` found; return the new version, or None where no version held a sample.

    The order is such that a kill at any point leaves either the old state or a state that running the command again
    completes: fingerprints first, the new version, then the withdrawals.
    """
    _remember(found, reason, workspace)
    _clear_curation(found, workspace)
    newest = _new_version(found, reason, plan, workspace) if found.versions else None
    for version in found.versions:
        _withdraw(version, found, reason, newest, plan, workspace)
    if workspace.cache.exists():
        shutil.rmtree(workspace.cache)  # answers and log-probabilities made from the samples; all can be made again
    return newest


def _remember(found: Found, reason: str, workspace: Workspace) -> None:
    path = forgotten_path(workspace)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    line = {"at": now(), "reason": reason, "people": found.people, "samples": len(found.samples)}
    write_text(path, before + json.dumps(line, ensure_ascii=False) + "\n", permissions=0o600)


def _clear_curation(found: Found, workspace: Workspace) -> None:
    if workspace.candidates.exists():
        kept = [s for s in read_records(workspace.candidates, Sample) if s.id not in found.samples]
        write_text(workspace.candidates, to_jsonl(kept))
    rejected = workspace.curation / "rejected.jsonl"
    if rejected.exists():
        write_text(rejected, to_jsonl(r for r in read_records(rejected, Rejected) if r.sample.id not in found.samples))
    decisions = workspace.private / "reviews.jsonl"
    if decisions.exists():  # an edit repeats the text
        lines = decisions.read_text(encoding="utf-8").splitlines()
        write_text(
            decisions, "".join(f"{line}\n" for line in lines if json.loads(line)["sample_id"] not in found.samples)
        )


def _new_version(found: Found, reason: str, plan: Plan, workspace: Workspace) -> DatasetManifest:
    """The newest version without the person's samples, its preference pairs too."""
    folder = workspace.dataset(plan.curation.dataset)
    last = versions_of(plan, workspace)[-1]
    if last.version not in found.versions:  # a run that was killed had made it, or the person left before it
        return last
    kept = [s for s in read_records(folder / f"sft_v{last.version}.jsonl", Sample) if s.id not in found.samples]
    version = last.version + 1
    gone = (
        {s for s in last.validation if s in found.conversations},
        {s for s in last.development if s in found.conversations},
    )
    validation, development = sorted(set(last.validation) - gone[0]), sorted(set(last.development) - gone[1])
    texts = {f"sft_v{version}.jsonl": to_jsonl(kept)}
    pairs = folder / f"preferences_v{last.version}.jsonl"
    if pairs.exists():
        left = [p for p in read_records(pairs, Preference) if p.sample_id not in found.samples]
        texts[f"preferences_v{version}.jsonl"] = to_jsonl(left)
    for name, text in texts.items():
        write_text(folder / name, text)
    held = [s.provenance.conversation_id for s in kept]
    counts = {
        "sft": len(kept),
        "train": sum(c not in validation and c not in development for c in held),
        "development": sum(c in development for c in held),
        "validation": sum(c in validation for c in held),
    }
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
                "samples": len(found.versions.get(last.version, [])),
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
            "samples": len(found.versions[version]),
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
