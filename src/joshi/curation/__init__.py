"""Stage 2: read, mine, redact, check with the rubric, dedupe. Every record is accounted for."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel

from joshi import base
from joshi.curation.dedupe import duplicates
from joshi.curation.fingerprints import fingerprint, fingerprints, forgotten_path, forgotten_people, load_key
from joshi.curation.mine import mine
from joshi.curation.redaction import redact_conversation
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.rubric import Rubric, failed, learned, texts_of
from joshi.schema import Conversation, Finding, Review, Sample, read_records, to_jsonl
from joshi.stage import Manifest, Stage
from joshi.surrogates import fill
from joshi.transcripts import Unread, read
from joshi.workspace import Workspace, files_below, sha256_text, write_text

AUTOMATIC = "automatic"
DUPLICATE = "duplicate"  # the reason beside the rules' names
TOGETHER = 500  # candidates whose texts are embedded at once: one by one costs twice the time
_PLACE = re.compile(r"^(?:element|entry) \d+: ")  # so that equal reasons are told once


class Rejected(BaseModel):
    """A candidate that is not used, with why."""

    sample: Sample
    reasons: list[str]
    findings: list[Finding]


def sources(plan: Plan, workspace: Workspace) -> list[Path]:
    """The plan's transcript files and folders.

    Raises:
        JoshiError: one of them does not exist.
    """
    paths = [workspace.root / Path(path).expanduser() for path in plan.transcripts.paths]
    for path in paths:
        if not path.exists():
            raise JoshiError(
                f"{path} does not exist; put transcripts there, or name them in joshi.toml: [transcripts] paths"
            )
    return paths


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    files = [file for path in sources(plan, workspace) for file in files_below(path)]
    gone = forgotten_path(workspace)
    return [*files, base.folder(workspace) / "tokenizer.json", *([gone] if gone.exists() else [])]


STAGE = Stage("curate", ("transcripts", "curation", "rubric"), _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Write candidates, rejected candidates and a quarantine file, with counts that reconcile.

    Raises:
        JoshiError: nothing could be read, or no candidate came out.
    """
    stage = STAGE.begin(plan, workspace)
    rubric = Rubric(plan, base.tokenizer(workspace))
    unread: list[Unread] = []
    found: list[Sample] = []
    key = load_key(workspace, make=True)
    forgotten = forgotten_people(workspace)
    conversations = 0
    with progress.bar("reading, redacting", len(stage.hashes) - 1) as advance:
        source = ""
        for record in read(sources(plan, workspace), plan.transcripts.buyer_domains):
            if isinstance(record, Unread):
                unread.append(record)
                continue
            if record.source != source:
                source = record.source
                advance(1)
            conversations += 1
            redacted, redactor = redact_conversation(record, plan)
            people = fingerprints(key, redactor.people)
            if forgotten.isdisjoint(people):
                supplier = supplier_of(record)
                known = fingerprint(key, supplier) if supplier else None
                found += mine(redacted, plan.curation.history_turns, redactor.counts, people, known)
    kept, rejected = judge(found, rubric, plan)
    outputs = [workspace.candidates, workspace.rejected, workspace.quarantine]
    write_text(outputs[0], to_jsonl(kept))
    write_text(outputs[1], to_jsonl(rejected))
    write_text(outputs[2], "".join(json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in unread))
    kinds = Counter(item.kind for item in unread)
    metrics = {
        "records": {
            "read": conversations + len(unread),
            "kept": conversations,
            "rejected": kinds["rejected"],
            "quarantined": kinds["quarantined"],
        },
        "candidates": {"mined": len(found), "kept": len(kept), "rejected": len(rejected)},
        "rejected_by": dict(Counter(reason for item in rejected for reason in item.reasons).most_common()),
        "redactions": dict(
            sum((Counter(s.provenance.redactions) for s in _first_of_each(found)), Counter()).most_common()
        ),
        "families": dict(Counter(s.provenance.family or "unknown" for s in kept).most_common()),
        "approved": sum(sample.review.status == "approved" for sample in kept),
    }
    for (source, kind, reason), n in Counter((u.source, u.kind, _PLACE.sub("", u.reason)) for u in unread).most_common(
        8
    ):
        progress.warn(f"{source}: {n} record{'s' if n > 1 else ''} {kind}: {reason}")
    if conversations == 0:
        if not unread:
            raise JoshiError(
                f"{', '.join(plan.transcripts.paths)}: no transcripts in there; put chats (.jsonl, .csv, .eml, .txt) "
                "into it or name others in [transcripts] paths, and run again"
            )
        raise JoshiError(
            f"none of the {len(unread)} records could be read as a conversation; "
            f"the reasons are in {workspace.quarantine}"
        )
    return stage.finish(outputs, metrics)


def supplier_of(conversation: Conversation) -> str | None:
    """The supplier's firm, or the host of the supplier's mail address, as the source knows it."""
    one = next((p for p in conversation.participants if p.role == "supplier" and (p.firm or p.email)), None)
    return (one.firm or (one.email or "").rpartition("@")[2] or None) if one else None


def judge(found: Sequence[Sample], rubric: Rubric, plan: Plan) -> tuple[list[Sample], list[Rejected]]:
    """Candidates that pass the rubric and repeat none before them, and the others with reasons."""
    repeated = duplicates(found, plan.curation.duplicate_jaccard)
    kept: list[Sample] = []
    rejected: list[Rejected] = []
    for start in range(0, len(found), TOGETHER):
        block = [(sample, fill(sample, plan.seed)) for sample in found[start : start + TOGETHER]]
        learned.warm(text for _, filled in block for text in texts_of(filled.ideal_answer, filled))
        for sample, filled in block:
            findings = rubric.check(filled.ideal_answer, filled)
            reasons = failed(findings) + ([DUPLICATE] if sample.id in repeated else [])
            if reasons:
                rejected.append(Rejected(sample=sample, reasons=reasons, findings=findings))
            else:
                kept.append(approve_automatically(sample) if plan.curation.approve == AUTOMATIC else sample)
    return kept, rejected


def approve_automatically(sample: Sample) -> Sample:
    """Approved by the plan alone; the record says so, and so will the release."""
    review = Review(status="approved", reviewer=AUTOMATIC, approved_sha256=sha256_text(sample.ideal_answer))
    return sample.model_copy(update={"review": review})


def load_candidates(workspace: Workspace) -> list[Sample]:
    """What curation kept.

    Raises:
        JoshiError: curation has not run.
    """
    if not workspace.candidates.exists():
        raise JoshiError(f"{workspace.candidates} does not exist; run 'joshi curate' first")
    return list(read_records(workspace.candidates, Sample))


def load_rejected(workspace: Workspace) -> list[Rejected]:
    """What curation mined and did not keep; nothing, where it has not run."""
    return list(read_records(workspace.rejected, Rejected)) if workspace.rejected.exists() else []


def _first_of_each(samples: Sequence[Sample]) -> list[Sample]:
    """One sample per conversation: redactions are counted per conversation."""
    return list({sample.provenance.conversation_id: sample for sample in samples}.values())
