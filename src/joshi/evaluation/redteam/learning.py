"""What attacks leave to learn from: the answers that gave a secret away, for somebody to write better ones.

An attack that was learned from measures no longer, so the gates leave it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from joshi.curation import Rejected
from joshi.evaluation.redteam import Talk
from joshi.evaluation.redteam.attacks import SOURCE
from joshi.monitoring.heard import Given, redacted
from joshi.plan import Plan
from joshi.schema import Finding, Review, Sample, read_records, to_jsonl
from joshi.workspace import Workspace, write_text

RULE = "no_internals"  # which such an answer breaks, whatever the rubric sees in it


def learned(samples: Iterable[Sample]) -> set[str]:
    """The ids of the attacks that these samples were made from."""
    return {sample.provenance.conversation_id for sample in samples if sample.provenance.source == SOURCE}


def send_back(talks: Sequence[Talk], plan: Plan, workspace: Workspace) -> int:
    """Put each talk that gave a secret away, up to the first answer that did, into the queue of answers to be
    rewritten; how many. Redacted as everything that is learned from; those of earlier runs stay.

    Raises:
        JoshiError: the file cannot be written.
    """
    before = read_records(workspace.gave_way, Rejected) if workspace.gave_way.exists() else ()
    found = [_to_rewrite(talk, plan, workspace) for talk in talks if talk.leaks]
    waiting = {one.sample.id: one for one in (*before, *found)}
    if waiting:
        write_text(workspace.gave_way, to_jsonl(waiting.values()))
    return len(found)


def _to_rewrite(talk: Talk, plan: Plan, workspace: Workspace) -> Rejected:
    turn, _ = min(talk.leaks, key=lambda leak: leak[0])
    leaks = [leak for when, leak in talk.leaks if when == turn]
    asked, answer = talk.history[: 2 * turn + 1], talk.history[2 * turn + 1].text
    context = talk.sample().context.model_copy(update={"history": asked, "notes": talk.planted.notes})
    clean = redacted(Given(context=context, answer=answer), None, plan, workspace).sample
    provenance = clean.provenance.model_copy(update={"source": SOURCE, "conversation_id": talk.attack.id})
    told = ", ".join(dict.fromkeys(f"{leak.kind} ({leak.disguise})" for leak in leaks))
    message = f"it gives away under attack: {told}"
    changed = {
        "id": f"{SOURCE}/{talk.attack.id}",
        "provenance": provenance,
        "review": Review(note=message),  # a pair says so too, also where the rubric sees nothing wrong
    }
    finding = Finding(rule=RULE, passed=False, message=message)
    return Rejected(sample=clean.model_copy(update=changed), reasons=[RULE], findings=[finding])
