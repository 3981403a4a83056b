"""What a file makes of text that it did not write: held-out answers, general prose, the unquantised model's words.

Tuning may follow every rule and have forgotten everything else, and quantisation may undo what tuning taught; neither
shows in a pass rate.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from joshi.evaluation.measure import mean_interval
from joshi.llama import Weights, bytes_of, threads
from joshi.logprobs import scoring
from joshi.plan import Plan
from joshi.progress import Progress
from joshi.prompt import ChatTokenizer, messages_for
from joshi.schema import Sample
from joshi.workspace import sha256_json, write_json

WITH_GENERAL = ("base", "shipped")  # what tuning came from, and what came of it
GENERAL = Path(__file__).with_name("general.jsonl")


def general_texts(n: int = 0) -> list[tuple[str, str]]:
    """(kind, text) of `n` (0: all) of the 40 passages written for Joshi, of each of the ten kinds in turn."""
    lines = GENERAL.read_text(encoding="utf-8").splitlines()
    found = [(record["kind"], record["text"]) for record in map(json.loads, lines)]
    seen: Counter[str] = Counter()
    turns = []
    for kind, _ in found:
        turns.append(seen[kind])
        seen[kind] += 1
    in_turn = [found[i] for i in sorted(range(len(found)), key=lambda i: turns[i])]
    return in_turn[:n] if n else found


def losses(
    models: Mapping[str, Weights],
    samples: Sequence[Sample],
    plan: Plan,
    tokenizer: ChatTokenizer,
    cache: Path,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """For each model, nats a token (mean with its 95% interval, by text) on held-out answers.

    For the base and what ships also on general text, by its kinds, and how much more that is than the base's. What was
    read once is taken from the cache, by the model's sha256 and the tokens.
    """
    encoded = [tokenizer.encode(messages_for(s, plan.model.system_prompt), s.ideal_answer) for s in samples]
    heldout = [(one.ids, one.trained.index(True)) for one in encoded]
    kinds, general = [], []
    for kind, text in general_texts(plan.evaluation.passages):
        kinds.append(kind)
        general.append((tokenizer.ids(text), 1))
    found: dict[str, dict[str, Any]] = {}
    base: list[list[float]] = []
    for name, model in models.items():
        of_answers = _read(model, heldout, f"held-out answers: {name}", plan, cache, progress)
        found[name] = {"heldout": _loss(of_answers, plan)}
        if name in WITH_GENERAL:
            values = _read(model, general, f"general text: {name}", plan, cache, progress)
            base = base or values
            by_kind = _by_kind(kinds, values)
            found[name] |= {
                "general": _loss(values, plan),
                "general_kinds": by_kind,
                "general_rise": rise(values, base, plan.seed),
            }
    return found


def _read(
    model: Weights, texts: Sequence[tuple[list[int], int]], label: str, plan: Plan, cache: Path, progress: Progress
) -> list[list[float]]:
    """Nats of each token from the first one asked for, of each text."""

    def read() -> list[list[float]]:
        with (
            progress.bar(f"reading {label}", len(texts)) as advance,
            scoring(model, plan.release.num_ctx, threads(plan)) as scorer,
        ):
            values = []
            for ids, first in texts:
                values.append([round(float(value), 6) for value in scorer.nll(ids, first)])
                advance(1)
            return values

    known: list[list[float]] = kept(cache, ["nll", bytes_of(model), texts], read)
    return known


def kept(cache: Path, key: list[Any], make: Callable[[], Any]) -> Any:
    """What was made for this key before, or what is made now, as JSON."""
    path = cache / "likelihood" / f"{sha256_json(key)}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = make()
        write_json(path, found)
        return found


def rise(tuned: Sequence[Sequence[float]], base: Sequence[Sequence[float]], seed: int) -> dict[str, float]:
    """How much more the tuned model loses than the base, nats a token, with the interval over the same texts."""
    return mean_interval([[a - b for a, b in zip(*pair, strict=True)] for pair in zip(tuned, base, strict=True)], seed)


def divergence(
    unquantised: Path,
    shipped: Weights,
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


def _loss(values: Sequence[Sequence[float]], plan: Plan) -> dict[str, float]:
    found = mean_interval(values, plan.seed)
    return {name: round(value, 4) for name, value in found.items()} | {
        "perplexity": round(float(np.exp(found["mean"])), 3),
        "tokens": sum(map(len, values)),
    }
