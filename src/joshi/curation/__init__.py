"""Stage 2: read, mine, redact, check with the rubric, dedupe. Every record is accounted for."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel

from joshi import base, embedding
from joshi.curation.dedupe import duplicates, frozen_answers
from joshi.curation.engine import LOCAL, Engine, mine_all
from joshi.curation.fingerprints import fingerprint, fingerprints, forgotten_path, forgotten_people, load_key
from joshi.curation.spill import Spill
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.rubric import Rubric, failed, texts_of
from joshi.schema import Conversation, Finding, Review, Sample, read_records
from joshi.stage import Manifest, Stage
from joshi.surrogates import fill
from joshi.transcripts import Unread, database, read
from joshi.workspace import Workspace, atomic, files_below, sha256_text, write_text

AUTOMATIC = "automatic"
DUPLICATE = "duplicate"  # the reason beside the rules' names
TOGETHER = 500  # candidates whose texts are embedded at once: one by one costs twice the time
_PLACE = re.compile(r"^(?:element|entry) \d+: ")  # so that equal reasons are told once


class Rejected(BaseModel):
    """A candidate that is not used, with why."""

    sample: Sample
    reasons: list[str]
    findings: list[Finding]


@dataclass(frozen=True)
class Found:
    """What the transcripts gave before anything was judged. `repeated` is what `duplicates` tells."""

    samples: Spill
    repeated: dict[str, str]
    repeat_frozen: int  # of those, how many repeat an answer of a frozen version
    unread: list[Unread]
    conversations: int
    redactions: Counter[str]


def sources(plan: Plan, workspace: Workspace) -> list[Path]:
    """The plan's transcript files and folders, and the snapshots of its databases.

    Raises:
        JoshiError: one of them does not exist.
    """
    paths = [workspace.root / Path(path).expanduser() for path in plan.transcripts.paths]
    for path in paths:
        if not path.exists():
            raise JoshiError(
                f"{path} does not exist; put transcripts there, or name them in joshi.toml: [transcripts] paths"
            )
    return [*paths, *(database.snapshot_path(one.name, workspace) for one in plan.transcripts.databases)]


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    # Whoever asks whether curation is current, or begins it, asks the databases anew.
    database.refresh(plan.transcripts.databases, workspace, os.environ)
    files = [file for path in sources(plan, workspace) for file in files_below(path)]
    gone = forgotten_path(workspace)
    return [*files, base.folder(workspace) / "tokenizer.json", *([gone] if gone.exists() else [])]


STAGE = Stage("curate", ("transcripts", "curation", "rubric"), _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT, engine: Engine = LOCAL) -> Manifest:
    """Write candidates, rejected candidates and a quarantine file, with counts that reconcile.

    The engine decides where conversations are redacted and mined, not what comes out. Candidates wait on disk, so
    that memory does not grow with them.

    Raises:
        JoshiError: nothing could be read, or no candidate came out.
    """
    stage = STAGE.begin(plan, workspace)
    rubric = Rubric(plan, base.tokenizer(workspace))
    found = collect(plan, workspace, progress, engine)
    unread = found.unread
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    families: Counter[str] = Counter()
    outputs = [workspace.candidates, workspace.rejected, workspace.quarantine]
    with atomic(outputs[0]) as kept, atomic(outputs[1]) as rejected:
        for one in judge(found.samples, found.repeated, rubric, plan):
            if isinstance(one, Rejected):
                counts["rejected"] += 1
                reasons.update(one.reasons)
                rejected.write(one.model_dump_json() + "\n")
            else:
                counts["kept"] += 1
                counts["approved"] += one.review.status == "approved"
                families[one.provenance.family or "unknown"] += 1
                kept.write(one.model_dump_json() + "\n")
    write_text(outputs[2], "".join(json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in unread))
    kinds = Counter(item.kind for item in unread)
    metrics = {
        "records": {
            "read": found.conversations + len(unread),
            "kept": found.conversations,
            "rejected": kinds["rejected"],
            "quarantined": kinds["quarantined"],
        },
        "candidates": {"mined": len(found.samples), "kept": counts["kept"], "rejected": counts["rejected"]},
        "rejected_by": dict(reasons.most_common()),
        "repeat_frozen": found.repeat_frozen,
        "redactions": dict(found.redactions.most_common()),
        "families": dict(families.most_common()),
        "approved": counts["approved"],
    }
    for (source, kind, reason), n in Counter((u.source, u.kind, _PLACE.sub("", u.reason)) for u in unread).most_common(
        8
    ):
        progress.warn(f"{source}: {n} record{'s' if n > 1 else ''} {kind}: {reason}")
    if found.repeat_frozen > len(found.samples) / 2:
        progress.warn(
            f"{found.repeat_frozen} of {len(found.samples)} candidates repeat answers of frozen versions under other "
            "ids; if transcripts were renamed, give them their old names, or begin another dataset: [curation] dataset"
        )
    if found.conversations == 0:
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


def collect(plan: Plan, workspace: Workspace, progress: Progress = SILENT, engine: Engine = LOCAL) -> Found:
    """Read, redact, mine, and find who repeats whom. The key stays in this process, whatever the engine."""
    unread: list[Unread] = []
    faulty: list[Unread] = []
    samples, packed = Spill(workspace.curation), bytearray()
    key = load_key(workspace, make=True)
    forgotten = forgotten_people(workspace)
    conversations = 0
    redactions: Counter[str] = Counter()
    paths = sources(plan, workspace)
    with progress.bar("reading, redacting", sum(len(files_below(path)) for path in paths)) as advance:
        talks = _conversations(read(paths, plan.transcripts.buyer_domains), unread, advance)
        for conversation, mined in mine_all(talks, plan, engine):
            if mined.fault:
                reason = f"redaction failed ({mined.fault}), which is an error in Joshi: report it"
                faulty.append(Unread(conversation.source, None, "quarantined", reason, f"id {conversation.id}"[:200]))
                continue
            conversations += 1
            people = fingerprints(key, mined.people)
            if mined.samples and forgotten.isdisjoint(people):
                supplier = supplier_of(conversation)
                known = fingerprint(key, supplier) if supplier else None
                for sample in mined.samples:
                    sample.provenance.people, sample.provenance.supplier = people, known
                    samples.append(sample)
                packed += mined.keys
                redactions += Counter(mined.samples[0].provenance.redactions)  # those of the whole conversation
    frozen = frozen_answers(workspace.dataset(plan.curation.dataset))
    repeated = duplicates(samples, plan.curation.duplicate_jaccard, frozen, packed)
    names = {answer.name for answer in frozen}
    of_frozen = sum(twin in names for twin in repeated.values())
    # The faulty ones last, whichever engine found them when.
    return Found(samples, repeated, of_frozen, [*unread, *faulty], conversations, redactions)


def _conversations(
    records: Iterable[Conversation | Unread], unread: list[Unread], advance: Callable[[int], None]
) -> Iterator[Conversation]:
    """The records that are conversations; the others go to `unread`."""
    source = ""
    for record in records:
        if isinstance(record, Unread):
            unread.append(record)
            continue
        if record.source != source:
            source = record.source
            advance(1)
        yield record


def supplier_of(conversation: Conversation) -> str | None:
    """The supplier's firm, or the host of the supplier's mail address, as the source knows it."""
    one = next((p for p in conversation.participants if p.role == "supplier" and (p.firm or p.email)), None)
    return (one.firm or (one.email or "").rpartition("@")[2] or None) if one else None


def judge(
    found: Sequence[Sample], repeated: Mapping[str, str], rubric: Rubric, plan: Plan
) -> Iterator[Sample | Rejected]:
    """Each candidate that passes the rubric and repeats none, or with the reasons why not; `repeated`: `duplicates`."""
    for start in range(0, len(found), TOGETHER):
        block = [(sample, fill(sample, plan.seed)) for sample in found[start : start + TOGETHER]]
        embedding.warm(text for _, filled in block for text in texts_of(filled.ideal_answer, filled))
        for sample, filled in block:
            findings = rubric.check(filled.ideal_answer, filled)
            reasons = failed(findings)
            if sample.id in repeated:
                reasons.append(DUPLICATE)
                findings.append(Finding(rule=DUPLICATE, passed=False, message=f"repeats {repeated[sample.id]}"))
            if reasons:
                yield Rejected(sample=sample, reasons=reasons, findings=findings)
            else:
                yield approve_automatically(sample) if plan.curation.approve == AUTOMATIC else sample


def approve_automatically(sample: Sample) -> Sample:
    """Approved by the plan alone; the record says so, and so will the release."""
    review = Review(status="approved", reviewer=AUTOMATIC, approved_sha256=sha256_text(sample.ideal_answer))
    return sample.model_copy(update={"review": review})


def load_candidates(workspace: Workspace) -> list[Sample]:
    """What curation kept, and the better answers that came from production.

    Raises:
        JoshiError: curation has not run.
    """
    if not workspace.candidates.exists():
        raise JoshiError(f"{workspace.candidates} does not exist; run 'joshi curate' first")
    sent = workspace.feedback_candidates
    return [*read_records(workspace.candidates, Sample), *(read_records(sent, Sample) if sent.exists() else ())]


def load_rejected(workspace: Workspace) -> list[Rejected]:
    """What curation mined and did not keep, and what production or an attack showed to be wrong."""
    return [one for path in workspace.to_rewrite for one in read_records(path, Rejected)]
