"""From people's opinions to the review room: what should have been answered, with what was answered beside it."""

from __future__ import annotations

from joshi.curation import Rejected
from joshi.monitoring import heard
from joshi.monitoring.heard import Heard
from joshi.schema import Finding, Review, Sample, to_jsonl
from joshi.workspace import Workspace, write_text

FOUND_BAD = "feedback"  # why an answer must be rewritten that a person found bad


def export(workspace: Workspace) -> tuple[int, int]:
    """Put the better answers into the queue of candidates, and bad ones without a better one into that of answers to
    be rewritten; how many of each.

    Nobody has approved them, whatever the plan approves by itself. One that is approved becomes a sample, and, as the
    reviewer's own rewriting does, a preference pair against what production answered.

    Raises:
        JoshiError: the database or a file cannot be used.
    """
    bad = [one for one in heard.load(workspace, "feedback") if one.verdict == "bad"]
    usable, wanting = [one for one in bad if one.better], [one for one in bad if not one.better]
    if usable or workspace.feedback_candidates.exists():
        write_text(workspace.feedback_candidates, to_jsonl(map(_candidate, usable)))
    if wanting or workspace.sent_back.exists():
        write_text(workspace.sent_back, to_jsonl(map(_to_rewrite, wanting)))
    return len(usable), len(wanting)


def _candidate(one: Heard) -> Sample:
    waiting = Review(status="pending", original=one.sample.ideal_answer, note=one.comment)
    return one.sample.model_copy(update={"ideal_answer": one.better, "review": waiting})


def _to_rewrite(one: Heard) -> Rejected:
    waiting = Review(status="pending", note=one.comment)
    finding = Finding(rule=FOUND_BAD, passed=False, message=one.comment or "a person found it bad")
    return Rejected(sample=one.sample.model_copy(update={"review": waiting}), reasons=[FOUND_BAD], findings=[finding])
