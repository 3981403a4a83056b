"""The systems that are compared: base, base with the rules in its prompt, SFT, what ships, and any address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from joshi.base.find import find_base
from joshi.endpoint import Endpoint
from joshi.export import ADAPTER, sft_gguf, shipped, shipped_file
from joshi.generate import Model, Request, Sampling, generate, seed_of
from joshi.llama import Adapted
from joshi.plan import Plan
from joshi.progress import Progress
from joshi.prompt import messages_for
from joshi.rubric import Rubric, failed, rules_text
from joshi.schema import Completion, Finding, Sample
from joshi.workspace import Workspace, sha256_file

BASELINES = ("base", "base_with_rules")
RELEASED = "released"  # the model in use, where it is another one


@dataclass(frozen=True)
class System:
    """A model with the system prompt that it gets."""

    name: str
    label: str
    model: Model
    system_prompt: str


@dataclass(frozen=True)
class Answered:
    """One system's answers to the held-out messages, and what the rubric says of them."""

    system: System
    answers: list[Completion]
    findings: list[list[Finding]]

    def passes(self, rule: str | None = None) -> list[bool]:
        """For each answer, whether it passes one rule, or all."""
        return [not broken if rule is None else rule not in broken for broken in map(failed, self.findings)]


def systems(plan: Plan, workspace: Workspace) -> list[System]:
    """All that are compared, the baselines first.

    Raises:
        PlanError: an endpoint's key is not in the environment.
    """
    prompt = plan.model.system_prompt
    base = find_base(plan.model.base, workspace.root).path
    preference = "" if plan.preference.method == "none" else f" + {plan.preference.method.upper()}"
    found = [
        System("base", "base, agent's prompt", base, prompt),
        System("base_with_rules", "base, all rules in the prompt", base, f"{prompt} {rules_text(plan)}"),
    ]
    if plan.preference.method != "none":
        found.append(System("sft", "SFT", sft_gguf(workspace), prompt))
    form = plan.export.quantization if plan.release.artifact == "gguf" else "LoRA beside the base"
    found.append(System("shipped", f"shipped: SFT{preference}, {form}", shipped(plan, workspace), prompt))
    released = workspace.released_model()
    if released and sha256_file(released) != sha256_file(shipped_file(plan, workspace)):
        weights = Adapted(base, released) if released.stem.endswith(ADAPTER) else released
        found.append(System(RELEASED, f"in use: release {released.parent.name}", weights, prompt))
    return found + [
        System(section.name, f"{section.model} at {section.url}", Endpoint.of(section), prompt)
        for section in plan.evaluation.endpoints
    ]


def answer_all(
    system: System, samples: Sequence[Sample], plan: Plan, rubric: Rubric, cache: Path, progress: Progress
) -> Answered:
    """Its answer to every sample, with the sampling of production."""
    requests = [
        Request(sample.id, tuple(messages_for(sample, system.system_prompt)), seed_of(plan, sample.id))
        for sample in samples
    ]
    sampling = Sampling(plan.release.temperature, plan.release.top_p, plan.evaluation.max_tokens)
    label = f"answering: {system.label}"
    answers = generate(system.model, requests, sampling, plan, rubric.tokenizer, cache, progress, label)
    findings = [rubric.check(a.answer, s) for a, s in zip(answers, samples, strict=True)]
    return Answered(system, answers, findings)
