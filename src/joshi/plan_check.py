"""What a plan will do otherwise than it says, and the arithmetic of a run's steps that training shares."""

from __future__ import annotations

from joshi.plan import Plan


def steps_of(samples: int, batch_size: int, epochs: int) -> int:
    """Optimizer steps of a run: the last batch of an epoch may be smaller but is never dropped."""
    return -(-samples // batch_size) * epochs


def warmup_of(steps: int, wanted: int, strict: bool) -> int:
    """Warm-up steps used: at most a tenth of the run, unless the plan insists."""
    return wanted if strict else min(wanted, steps // 10)


def highest_rate(peak: float, warmup: int, steps: int) -> float:
    """The highest learning rate that a run of so many steps reaches with linear warm-up."""
    return peak if warmup < steps else peak * max(steps - 1, 0) / max(warmup, 1)


def check_plan(plan: Plan, samples: int | None = None) -> list[str]:
    """Sentences on what this plan will do otherwise than it says; with `samples` if a dataset is frozen."""
    notes: list[str] = []
    low, high = (samples, samples) if samples else plan.curation.sft_samples
    # After what the gates judge by and what training chooses by, which is a share of the rest.
    left = (1 - plan.curation.validation_fraction) * (1 - plan.curation.development_fraction)
    bounds = [steps_of(round(n * left), plan.sft.batch_size, plan.sft.epochs) for n in (low, high)]
    for steps in sorted(set(bounds)):
        warmup = warmup_of(steps, plan.sft.warmup_steps, plan.sft.strict)
        reached = highest_rate(plan.sft.learning_rate, plan.sft.warmup_steps, steps)
        if plan.sft.warmup_steps > steps // 10:
            notes.append(
                f"[sft] the run has {steps} steps; with warmup_steps = {plan.sft.warmup_steps} the learning rate "
                f"would reach {reached:.2g} of {plan.sft.learning_rate:.2g}; it will use {warmup} warm-up steps"
                + ("" if plan.sft.strict is False else " as written, because strict = true")
            )
    if bounds[0] < 20:
        notes.append(
            f"[sft] {bounds[0]} optimizer steps teach little; lower batch_size ({plan.sft.batch_size}) "
            f"or raise epochs ({plan.sft.epochs})"
        )
    if plan.release.num_ctx < plan.evaluation.max_tokens * 2:
        notes.append(
            f"[release] num_ctx = {plan.release.num_ctx} leaves little room for a prompt beside "
            f"{plan.evaluation.max_tokens} answer tokens"
        )
    if plan.curation.approve == "automatic":
        notes.append('[curation] approve = "automatic": samples are used without a person having read them')
    return notes
