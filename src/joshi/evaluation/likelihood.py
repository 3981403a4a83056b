"""What a file makes of text that it did not write: held-out answers, general prose, the unquantised model's words.

Tuning may follow every rule and have forgotten everything else, and quantisation may undo what tuning taught; neither
shows in a pass rate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from joshi.evaluation.measure import mean_interval
from joshi.llama import threads
from joshi.logprobs import Scorer, scoring
from joshi.plan import Plan
from joshi.progress import Progress
from joshi.prompt import ChatTokenizer, messages_for
from joshi.schema import Sample

GENERAL = Path(__file__).with_name("general.jsonl")


def general_texts() -> list[tuple[str, str]]:
    """(kind, text) of 40 passages in ten kinds, written for Joshi."""
    lines = GENERAL.read_text(encoding="utf-8").splitlines()
    return [(record["kind"], record["text"]) for record in map(json.loads, lines)]


def losses(
    models: Mapping[str, Path], samples: Sequence[Sample], plan: Plan, tokenizer: ChatTokenizer, progress: Progress
) -> dict[str, dict[str, Any]]:
    """For each model, nats a token (mean with its 95% interval, by sample) on held-out answers and on general text."""
    passages = [(kind, tokenizer.ids(text)) for kind, text in general_texts()]
    found = {}
    with progress.bar("reading held-out and general text", len(models) * (len(samples) + len(passages))) as advance:
        for name, model in models.items():
            with scoring(model, plan.release.num_ctx, threads(plan)) as scorer:
                answers, general = [], []
                for sample in samples:
                    answers.append(answer_nll(scorer, sample, sample.ideal_answer, plan, tokenizer))
                    advance(1)
                for _, ids in passages:
                    general.append(scorer.nll(ids).tolist())
                    advance(1)
            found[name] = {
                "heldout": _loss(answers, plan.seed),
                "general": _loss(general, plan.seed),
                "general_kinds": _by_kind([kind for kind, _ in passages], general),
                "general_values": [float(np.sum(values)) for values in general],
            }
    return found


def rise(tuned: dict[str, Any], base: dict[str, Any], seed: int) -> dict[str, float]:
    """How much more the tuned model loses on general text than the base, nats a token, over the same passages."""
    n = base["general"]["tokens"] / len(base["general_values"])  # tokens of a passage, so that a mean is one a token
    changes = [[(a - b) / n] for a, b in zip(tuned["general_values"], base["general_values"], strict=True)]
    return mean_interval(changes, seed)


def answer_nll(scorer: Scorer, sample: Sample, answer: str, plan: Plan, tokenizer: ChatTokenizer) -> list[float]:
    """Nats of each token of an answer, its end of turn included."""
    encoded = tokenizer.encode(messages_for(sample, plan.model.system_prompt), answer)
    values: list[float] = scorer.nll(encoded.ids, encoded.trained.index(True)).tolist()
    return values


def divergence(
    unquantised: Path,
    shipped: Path,
    samples: Sequence[Sample],
    answers: Sequence[str],
    plan: Plan,
    tokenizer: ChatTokenizer,
    progress: Progress,
) -> dict[str, Any]:
    """How far the shipped file's next token is from the unquantised model's, along the answers of the latter.

    Returns:
        kl: mean KL(unquantised || shipped) in nats with its 95% interval; agreement: share of tokens where both find
        the same one likeliest; tokens.
    """
    n_ctx, n_threads = plan.release.num_ctx, threads(plan)
    kl, agree = [], []
    with (
        progress.bar("comparing with the unquantised model", len(samples)) as advance,
        scoring(unquantised, n_ctx, n_threads) as full,
        scoring(shipped, n_ctx, n_threads) as small,
    ):
        for sample, answer in zip(samples, answers, strict=True):
            encoded = tokenizer.encode(messages_for(sample, plan.model.system_prompt), answer)
            first = encoded.trained.index(True)
            p, q = (model.logprobs(encoded.ids, first) for model in (full, small))
            kl.append((np.exp(p, dtype=np.float64) * (p.astype(np.float64) - q)).sum(1).tolist())
            agree.append((p.argmax(1) == q.argmax(1)).astype(float).tolist())
            advance(1)
    return {
        "kl": mean_interval(kl, plan.seed),
        "agreement": mean_interval(agree, plan.seed),
        "tokens": sum(map(len, kl)),
    }


def _by_kind(kinds: Sequence[str], values: Sequence[Sequence[float]]) -> dict[str, float]:
    """Nats a token of each kind of text: an average can hide that one kind is lost."""
    return {
        kind: round(float(np.concatenate([v for k, v in zip(kinds, values, strict=True) if k == kind]).mean()), 4)
        for kind in dict.fromkeys(kinds)
    }


def _loss(values: Sequence[Sequence[float]], seed: int) -> dict[str, float]:
    found = mean_interval(values, seed)
    return {name: round(value, 4) for name, value in found.items()} | {
        "perplexity": round(float(np.exp(found["mean"])), 3),
        "tokens": sum(map(len, values)),
    }
