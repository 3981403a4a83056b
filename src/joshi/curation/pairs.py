"""Stage 2, second pass: preference pairs. A model's own rule-breaking answer against the approved one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from joshi import base, datasets
from joshi.base.find import find_base
from joshi.errors import GateRefused
from joshi.export import sft_gguf
from joshi.generate import Request, Sampling, generate
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.prompt import ChatTokenizer, messages_for
from joshi.rubric import Rubric
from joshi.schema import Completion, Finding, Preference, Sample, to_jsonl
from joshi.stage import Manifest, Stage
from joshi.surrogates import fill
from joshi.workspace import Workspace, sha256_text, write_json, write_text

OVER_LIMIT_TOKENS = 60  # how far past the length limit a rejected answer may run before it is cut off
SPARE_PROMPTS = 1.5  # prompts sampled for each pair wanted: some models' answers break no rule


def _models(plan: Plan, workspace: Workspace) -> dict[str, Path]:
    found = {"base": find_base(plan.model.base, workspace.root).path, "sft": sft_gguf(workspace)}
    return {name: found[name] for name in dict.fromkeys(plan.preference.rejected_from)}


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    return [*datasets.current_files(plan, workspace), *_models(plan, workspace).values()]


STAGE = Stage("preference pairs", ("model", "rubric", "curation", "preference", "release"), _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Sample answers, keep those that break a rule, and freeze the pairs beside their dataset version.

    Raises:
        GateRefused: fewer pairs than the plan's minimum came out.
    """
    stage = STAGE.begin(plan, workspace)
    tokenizer = base.tokenizer(workspace)
    rubric = Rubric(plan, tokenizer)
    fewest, most = plan.curation.preference_pairs
    training, _ = datasets.load_split(plan, workspace)
    chooser = random.Random(plan.seed)
    prompts = chooser.sample(training, min(len(training), round(most * SPARE_PROMPTS)))
    filled = [fill(sample, plan.seed) for sample in prompts]
    # A chosen answer that breaks a rule would teach to break it.
    filled = [sample for sample in filled if all(f.passed for f in rubric.check(sample.ideal_answer, sample))]
    sampling = Sampling(plan.preference.temperature, 1.0, plan.preference.length_limit + OVER_LIMIT_TOKENS)
    tried: dict[str, list[tuple[str, Completion, list[Finding]]]] = {sample.id: [] for sample in filled}
    for name, model in _models(plan, workspace).items():
        for draw in range(plan.preference.candidates):
            wanting = [s for s in filled if not any(_broken(findings) for *_, findings in tried[s.id])]
            done = len(filled) - len(wanting)
            wanting = wanting[: max(0, most - done)] if draw else wanting
            answers = generate(
                model, [_request(s, plan, f"{name}:{draw}") for s in wanting], sampling, plan, tokenizer,
                workspace.cache, progress, f"sampling rejected answers: {name}",
            )  # fmt: skip
            for sample, answer in zip(wanting, answers, strict=True):
                tried[sample.id].append((name, answer, rubric.check(answer.answer, sample)))
    pairs = [pair for sample in filled if (pair := make_pair(sample, tried[sample.id], plan)) is not None][:most]
    if len(pairs) < fewest:
        raise GateRefused(
            f"{len(pairs)} preference pairs came out of {len(filled)} prompts, the plan needs {fewest} "
            "([curation] preference_pairs): raise [preference] candidates or temperature, or freeze more samples"
        )
    path = datasets.preferences_path(plan, workspace)
    metrics = _metrics(pairs, tokenizer, plan)
    write_text(path, to_jsonl(pairs))
    manifest = path.with_name(path.name.replace("preferences_", "preferences_manifest_").replace(".jsonl", ".json"))
    write_json(manifest, {"key": stage.key, "files": {path.name: sha256_text(to_jsonl(pairs))}, **metrics})
    return stage.finish([path, manifest], metrics)


def make_pair(sample: Sample, tried: Sequence[tuple[str, Completion, list[Finding]]], plan: Plan) -> Preference | None:
    """A pair from the first sampled answer that breaks a rule and is no repetition of the approved one."""
    for model, answer, findings in tried:
        broken = _broken(findings)
        if not answer.answer or not broken or answer.answer == sample.ideal_answer:
            continue
        first = broken[0]
        quoted = f" (“{answer.answer[slice(*first.span)][:80]}”)" if first.span else ""
        return Preference(
            id=f"{sample.id}/{model}",
            sample_id=sample.id,
            prompt=messages_for(sample, plan.model.system_prompt),
            chosen=sample.ideal_answer,
            rejected=answer.answer,
            rationale=f"The rejected answer of the {model} model breaks {first.rule}: {first.message}{quoted}.",
            failure_modes=[finding.rule for finding in broken],
            origin="sampled",
            review=sample.review,
        )
    return None


def _broken(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.passed]


def _request(sample: Sample, plan: Plan, draw: str) -> Request:
    seed = int(sha256_text(f"{plan.seed}:{draw}:{sample.id}")[:7], 16)
    return Request(sample.id, tuple(messages_for(sample, plan.model.system_prompt)), seed)


def _metrics(pairs: Sequence[Preference], tokenizer: ChatTokenizer, plan: Plan) -> dict[str, object]:
    """Counts, and the length bias that DPO would otherwise learn."""
    chosen = [tokenizer.count(pair.chosen) for pair in pairs]
    rejected = [tokenizer.count(pair.rejected) for pair in pairs]
    return {
        "pairs": len(pairs),
        "failure_modes": dict(Counter(mode for pair in pairs for mode in pair.failure_modes).most_common()),
        "tokens_chosen_mean": round(sum(chosen) / len(pairs), 1),
        "tokens_rejected_mean": round(sum(rejected) / len(pairs), 1),
        "rejected_over_limit": round(sum(n > plan.preference.length_limit for n in rejected) / len(pairs), 3),
    }
