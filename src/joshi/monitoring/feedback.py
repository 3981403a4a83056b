"""From people's opinions to preference candidates: what was answered against what should have been."""

from __future__ import annotations

from pathlib import Path

from joshi import base
from joshi.monitoring import heard
from joshi.monitoring.heard import Heard
from joshi.plan import Plan
from joshi.prompt import messages_for
from joshi.rubric import Rubric, failed
from joshi.schema import Preference, to_jsonl
from joshi.surrogates import fill
from joshi.workspace import Workspace, write_text


def export(path: Path, plan: Plan, workspace: Workspace) -> tuple[int, int]:
    """Write a pending preference for every opinion with a better answer; how many, and how many had none.

    They hold placeholders and ranges, as all that is stored. Nobody has approved them: they are for the review room.

    Raises:
        JoshiError: the base is not imported yet, or the file cannot be written.
    """
    opinions = heard.load(workspace, "feedback")
    rubric = Rubric(plan, base.tokenizer(workspace))
    usable = [one for one in opinions if one.verdict == "bad" and one.better]
    write_text(path, to_jsonl(_preference(one, rubric, plan) for one in usable))
    return len(usable), sum(one.verdict == "bad" for one in opinions) - len(usable)


def _preference(one: Heard, rubric: Rubric, plan: Plan) -> Preference:
    filled = fill(one.sample, plan.seed)  # the rubric reads what a supplier would
    modes = failed(rubric.check(filled.ideal_answer, filled))
    return Preference(
        id=f"{one.id}/feedback",
        sample_id=one.id,
        prompt=messages_for(one.sample, plan.model.system_prompt),
        chosen=one.better or "",
        rejected=one.sample.ideal_answer,
        rationale=one.comment or "A person found the answer bad and wrote a better one.",
        failure_modes=modes,
        origin="feedback",
    )
