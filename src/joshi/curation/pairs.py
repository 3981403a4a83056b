"""Stage 2, second pass: preference pairs. An approved answer against one that breaks a rule.

What a reviewer chose in the preferences room comes first. Else the rejected answer is what a reviewer rewrote or, with
a reason, overruled, where the sample has that, or a model's own, sampled.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from joshi import base, datasets, review
from joshi.base.find import find_base
from joshi.errors import GateRefused
from joshi.export import sft_gguf
from joshi.generate import Request, Sampling, generate, seed_of
from joshi.plan import SAMPLING, Plan
from joshi.progress import SILENT, Progress
from joshi.prompt import ChatTokenizer, messages_for
from joshi.rubric import Rubric
from joshi.schema import Finding, Preference, Sample, read_records, to_jsonl
from joshi.stage import Manifest, Stage
from joshi.window import fit
from joshi.workspace import Workspace, sha256_text, write_json, write_text

UNLIKE = 0.1  # share of the chosen answers' tokens by which the rejected ones may be longer or shorter
OVER_LIMIT_TOKENS = 60  # how far past the length limit a rejected answer may run before it is cut off


def _models(plan: Plan, workspace: Workspace) -> dict[str, Path]:
    found = {"base": find_base(plan.model.base, workspace.root).path, "sft": sft_gguf(workspace)}
    return {name: found[name] for name in dict.fromkeys(plan.preference.rejected_from)}


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    review.refresh(plan, workspace)
    chosen = [workspace.candidate_pairs] if workspace.candidate_pairs.exists() else []
    return [*datasets.current_files(plan, workspace), *_models(plan, workspace).values(), *chosen]


STAGE = Stage("preference pairs", ("model", "rubric", "curation", "sft", "preference", *SAMPLING), _inputs)


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
    found = chosen_by_people(filled, plan, workspace, most)
    for sample in [one for one in filled if overruled(one) and one.id not in found][: most - len(found)]:
        before = overruled(sample)
        pair = make_pair(sample, "edited", "edit", before, rubric.check(before, sample), plan)
        if pair is not None:
            found[sample.id] = pair
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
                findings = rubric.check(answer.answer, sample)
                pair = make_pair(sample, "sampled", name, answer.answer, findings, plan)
                if pair is not None:
                    found[sample.id] = pair
    pairs = [found[sample.id] for sample in filled if sample.id in found]
    if plan.preference.balance_length:
        pairs = balanced(pairs, tokenizer, fewest)
    if len(pairs) < fewest:
        raise GateRefused(
            f"{len(pairs)} preference pairs came out of {len(filled)} prompts, the plan needs {fewest} "
            "([curation] preference_pairs): raise [preference] candidates or temperature, or freeze more samples"
        )
    path = datasets.preferences_path(plan, workspace)
    metrics = _metrics(pairs, tokenizer, plan) | {"left_out_for_length": len(found) - len(pairs)}
    write_text(path, to_jsonl(pairs))
    manifest = path.with_name(path.name.replace("preferences_", "preferences_manifest_").replace(".jsonl", ".json"))
    write_json(manifest, {"key": stage.key, "files": {path.name: sha256_text(to_jsonl(pairs))}, **metrics})
    return stage.finish([path, manifest], metrics)


def chosen_by_people(samples: Sequence[Sample], plan: Plan, workspace: Workspace, most: int) -> dict[str, Preference]:
    """What reviewers chose in the preferences room, by sample; a choice counts for the very prompt it was made on."""
    path = workspace.candidate_pairs
    made = {pair.sample_id: pair for pair in read_records(path, Preference)} if path.exists() else {}
    asked = {sample.id: messages_for(sample, plan.model.system_prompt) for sample in samples if sample.id in made}
    return {name: made[name] for name, prompt in list(asked.items())[:most] if made[name].prompt == prompt}


def overruled(sample: Sample) -> str:
    """What the approved answer took the place of: what another reviewer had approved, if it is said why that was not
    good enough, and else the answer as it was before it was rewritten; empty if there is neither.
    """
    if sample.review.displaced and sample.review.note:
        return sample.review.displaced[-1]
    return sample.review.original or ""


def make_pair(
    sample: Sample, origin: Literal["sampled", "edited"], by: str, answer: str, findings: Sequence[Finding], plan: Plan
) -> Preference | None:
    """The pair of an approved and a rejected answer; none if the rejected one is empty, or breaks no rule and no
    reviewer said why it was rewritten.

    `by` is whose answer it is: a model's name, or "edit" for what a reviewer rewrote.
    """
    broken = [finding for finding in findings if not finding.passed]
    note = sample.review.note if origin == "edited" else None
    if not answer or not (broken or note):
        return None
    whose = "The answer that a reviewer rewrote" if origin == "edited" else f"The rejected answer of the {by} model"
    reasons = [f"{whose} {_breaks(broken[0], answer)}."] if broken else []
    return Preference(
        id=f"{sample.id}/{by}",
        sample_id=sample.id,
        prompt=messages_for(sample, plan.model.system_prompt),
        chosen=sample.ideal_answer,
        rejected=answer,
        rationale=" ".join([*reasons, *([f"Said of it: {note}"] if note else [])]),
        failure_modes=[finding.rule for finding in broken],
        origin=origin,
        review=sample.review,
    )


def _breaks(finding: Finding, answer: str) -> str:
    quoted = f" (“{answer[slice(*finding.span)][:80]}”)" if finding.span else ""
    return f"breaks {finding.rule}: {finding.message}{quoted}"


def balanced(pairs: Sequence[Preference], tokenizer: ChatTokenizer, fewest: int) -> list[Preference]:
    """Without the pairs that differ most in length, until both sides are as long in the mean, to UNLIKE."""
    kept = sorted(pairs, key=lambda pair: tokenizer.count(pair.rejected) - tokenizer.count(pair.chosen))
    longer = [tokenizer.count(pair.rejected) - tokenizer.count(pair.chosen) for pair in kept]
    chosen = [tokenizer.count(pair.chosen) for pair in kept]
    start, end = 0, len(kept)  # of those that stay
    while end - start > fewest and abs(excess := sum(longer[start:end])) > UNLIKE * sum(chosen[start:end]):
        start, end = (start, end - 1) if excess > 0 else (start + 1, end)
    stays = {pair.id for pair in kept[start:end]}
    return [pair for pair in pairs if pair.id in stays]


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
