"""From people's opinions to the review room: what should have been answered, with what was answered beside it."""

from __future__ import annotations

from joshi.monitoring import heard
from joshi.monitoring.heard import Heard
from joshi.schema import Review, Sample, to_jsonl
from joshi.workspace import Workspace, write_text


def export(workspace: Workspace) -> tuple[int, int]:
    """Put the better answers into the queue of candidates; how many, and how many bad answers came without one.

    Nobody has approved them, whatever the plan approves by itself. One that is approved becomes a sample, and, as the
    reviewer's own rewriting does, a preference pair against what production answered.

    Raises:
        JoshiError: the database or the file cannot be used.
    """
    bad = [one for one in heard.load(workspace, "feedback") if one.verdict == "bad"]
    usable = [one for one in bad if one.better]
    if usable or workspace.feedback_candidates.exists():
        write_text(workspace.feedback_candidates, to_jsonl(map(_candidate, usable)))
    return len(usable), len(bad) - len(usable)


def _candidate(one: Heard) -> Sample:
    waiting = Review(status="pending", original=one.sample.ideal_answer, note=one.comment)
    return one.sample.model_copy(update={"ideal_answer": one.better, "review": waiting})
