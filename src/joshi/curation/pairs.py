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
from joshi.generate import Request, Sampling, generate, seed_of
from joshi.plan import Plan
from joshi.progress import SILENT, Progress
from joshi.prompt import ChatTokenizer, messages_for
from joshi.rubric import Rubric
from joshi.schema import Completion, Finding, Preference, Sample, to_jsonl
from joshi.stage import Manifest, Stage
from joshi.window import fit
from joshi.workspace import Workspace, sha256_text, write_json, write_text

OVER_LIMIT_TOKENS = 60  # how far past the length limit a rejected answer may run before it is cut off


def _models(plan: Plan, workspace: Workspace) -> dict[str, Path]:
    found = {"base": find_base(plan.model.base, workspace.root).path, "sft": sft_gguf(workspace)}
    return {name: found[name] for name in dict.fromkeys(plan.preference.rejected_from)}


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    return [*datasets.current_files(plan, workspace), *_models(plan, workspace).values()]


STAGE = Stage("preference pairs", ("model", "rubric", "curation", "sft", "preference", "release"), _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Sample answers, keep those that break a rule, and freeze the pairs beside their dataset version.

    Raises:
        JoshiError: a prompt with room for an answer does not fit max_length.
        GateRefused: fewer pairs than the plan's minimum came out.
    """
    stage = STAGE.begin(plan, workspace)
    tokenizer = base.tokenizer(workspace)
    rubric = Rubric(plan, tokenizer)
    fewest, most = plan.curation.preference_pairs
    training = datasets.load_split(plan, workspace).training
    chooser = random.Random(plan.seed)
    room = plan.preference.length_limit + OVER_LIMIT_TOKENS  # a rejected answer may be longer than the approved one
    filled = [fit(sample, plan, tokenizer, room).sample for sample in chooser.sample(training, len(training))]
    # A chosen answer that breaks a rule would teach to break it.
    filled = [sample for sample in filled if all(f.passed for f in rubric.check(sample.ideal_answer, sample))]
    sampling = Sampling(plan.preference.temperature, 1.0, room)
    found: dict[str, Preference] = {}
    for name, model in _models(plan, workspace).items():
        asked: Counter[str] = Counter()
        for draw in range(plan.preference.candidates):
            # Each round asks for what is still wanting, so that no answer is made that no pair needs; and first on
            # prompts that were not tried, as one that was answered well is likely to be again.
            open_ones = sorted((s for s in filled if s.id not in found), key=lambda s: asked[s.id])
            wanting = open_ones[: most - len(found)]
            asked.update(sample.id for sample in wanting)
            answers = generate(
                model, [_request(s, plan, f"{name}:{draw}") for s in wanting], sampling, plan, tokenizer,
                workspace.cache, progress, f"sampling rejected answers: {name}",
            )  # fmt: skip
            for sample, answer in zip(wanting, answers, strict=True):
                pair = make_pair(sample, name, answer, rubric.check(answer.answer, sample), plan)
                if pair is not None:
                    found[sample.id] = pair
    pairs = [found[sample.id] for sample in filled if sample.id in found]
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


def make_pair(
    sample: Sample, model: str, answer: Completion, findings: Sequence[Finding], plan: Plan
) -> Preference | None:
    """The pair of an approved and a sampled answer; none if the sampled one breaks no rule or is empty."""
    broken = [finding for finding in findings if not finding.passed]
    if not answer.answer or not broken:
        return None
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


def _request(sample: Sample, plan: Plan, draw: str) -> Request:
    return Request(sample.id, tuple(messages_for(sample, plan.model.system_prompt)), seed_of(plan, draw, sample.id))


def _metrics(pairs: Sequence[Preference], tokenizer: ChatTokenizer, plan: Plan) -> dict[str, object]:
    """Counts, and the length bias that DPO would otherwise learn."""
    chosen = [tokenizer.count(pair.chosen) for pair in pairs]
    rejected = [tokenizer.count(pair.rejected) for pair in pairs]
    return {
        "pairs": len(pairs),
        "rejected_from": dict(Counter(pair.id.rsplit("/", 1)[1] for pair in pairs)),
        "failure_modes": dict(Counter(mode for pair in pairs for mode in pair.failure_modes).most_common()),
        "tokens_chosen_mean": round(sum(chosen) / len(pairs), 1),
        "tokens_rejected_mean": round(sum(rejected) / len(pairs), 1),
        "rejected_over_limit": round(sum(n > plan.preference.length_limit for n in rejected) / len(pairs), 3),
    }
