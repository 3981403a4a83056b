"""A small convolutional tagger over the tokens of a talk, in numpy.

A token's hashed features are summed (fastText; Bojanowski et al. 2017) and joined with what is known of it; three
convolutions with growing gaps (Yu and Koltun 2016) let it see 7 tokens to either side, the means and maxima of the talk the
rest. A second look at each number weighs which of the talk's other numbers are prices, and how near they are.
`fit.py` holds the same in torch; weights lie beside this file as safetensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from joshi.curation.redaction.bare import Number
from joshi.curation.redaction.linear import WEIGHTS
from joshi.curation.redaction.reading import (
    GAPS,
    MOST_FEATURES,
    N_PLACED,
    Surface,
    Talk,
    features,
    written,
)

Array = np.ndarray[Any, np.dtype[np.float32]]
TAGS = ("O", "PERSON", "FIRM", "PRICE", "CODE")
GAPS_BETWEEN = (1, 2, 4)  # tokens between the taps of each convolution
PREFIX = "network."  # of its tensors in the file
_MOST_SURFACES = 50_000  # kept with their sums; 13 MB
_MOST_NUMBERS = 512  # compared with each other; bounds time and memory in a text of nothing but numbers


@dataclass(frozen=True)
class Judgement:
    tags: Array  # (tokens, TAGS): probabilities
    prices: dict[tuple[int, int], float]  # logit of each number by its first and last token in the talk


@dataclass
class Network:
    weights: dict[str, Array]
    _rows: dict[Surface, Array] = field(default_factory=dict)
    _of_bits: dict[int, Array] = field(default_factory=dict)

    def judge(self, talk: Talk) -> Judgement:
        w = self.weights
        if not talk.surfaces:
            return Judgement(np.zeros((0, len(TAGS)), np.float32), {})
        h = self._inputs(talk)  # (tokens, channels)
        for layer, gap in enumerate(GAPS_BETWEEN):
            h += np.maximum(_convolved(h, w[f"convolution.{layer}.weight"], gap) + w[f"convolution.{layer}.bias"], 0)
            if layer == 0:
                summary = np.concatenate([h.mean(0), h.max(0)])
                h += np.maximum(summary @ w["talk.weight"] + w["talk.bias"], 0)
        tags = softmax(h @ w["tags.weight"] + w["tags.bias"])
        prices: dict[tuple[int, int], float] = {}
        for start in range(0, len(talk.numbers), _MOST_NUMBERS):
            prices.update(self._look_again(h, tags, talk.numbers[start : start + _MOST_NUMBERS]))
        return Judgement(tags, prices)

    def _inputs(self, talk: Talk) -> Array:
        if len(self._rows) > _MOST_SURFACES:
            self._rows.clear()
        rows, placed = self._rows, self._of_bits
        if new := [surface for surface in dict.fromkeys(talk.surfaces) if surface not in rows]:
            rows.update(zip(new, self._sums(new), strict=True))
        h = np.array([rows[surface] for surface in talk.surfaces])
        h += np.array([placed[bits] if bits in placed else self._placed(bits) for bits in talk.placed])
        if talk.of_numbers:
            h[list(talk.of_numbers)] += np.array(list(talk.of_numbers.values())) @ self.weights["number.weight"]
        raised: Array = np.maximum(h, 0, out=h)
        return raised

    def _sums(self, surfaces: Sequence[Surface]) -> Array:
        """(surfaces, channels): what the features of each and how it is written add up to."""
        buckets = np.zeros((len(surfaces), MOST_FEATURES), np.intp)  # bucket 0 is none, and holds zeros
        for row, surface in zip(buckets, surfaces, strict=True):
            found = features(surface)
            row[: len(found)] = found
        counts = np.count_nonzero(buckets, axis=1).astype(np.float32)
        summed = self.weights["embedding"][buckets].sum(1) / np.sqrt(counts)[:, None]
        forms = np.array([written(surface) for surface in surfaces])
        # Row by row, or a row's last bits would depend on the others of its talk, and a talk's on those before it.
        sums: Array = summed[:, None] @ self.weights["feature.weight"] + forms[:, None] @ self.weights["written.weight"]
        return sums[:, 0]

    def _placed(self, bits: int) -> Array:
        places = [place for place in range(N_PLACED) if bits >> place & 1]
        row: Array = self.weights["placed.weight"][places].sum(0) + self.weights["input.bias"]
        self._of_bits[bits] = row
        return row

    def _look_again(self, h: Array, tags: Array, numbers: Sequence[Number]) -> Iterator[tuple[tuple[int, int], float]]:
        w = self.weights
        at = [number.first for number in numbers]
        inner = np.concatenate([h[at], among(tags[at, TAGS.index("PRICE")], numbers)], axis=1)
        inner = np.maximum(inner @ w["again.weight"] + w["again.bias"], 0)
        scores = (inner @ w["price.weight"] + w["price.bias"])[:, 0]
        yield from (((n.first, n.last), float(score)) for n, score in zip(numbers, scores, strict=True))


N_AMONG = len(GAPS) + 6


def among(chance: Array, numbers: Sequence[Number]) -> Array:
    """(numbers, N_AMONG): what the other numbers say of each, by how likely those are prices at the first look."""
    value = np.array([number.value for number in numbers])
    sure = np.array([number.is_price for number in numbers])
    message = np.array([number.message for number in numbers])
    p = np.where(sure, np.float32(1), chance)
    log = np.log(np.maximum(value, 1e-3))
    gaps = np.abs(log[:, None] - log)
    gaps[:, value <= 0] = gaps[value <= 0] = np.inf
    np.fill_diagonal(gaps, np.inf)
    said = [(p * (gaps <= limit)).max(1) for limit in GAPS]  # the likeliest price as near as this
    said.append((np.where(sure, 0, 1 - p) * (gaps <= GAPS[0])).max(1))  # the same amount, hardly a price
    said.append(np.full(len(p), p.mean()))
    before, after = np.zeros_like(p), np.zeros_like(p)
    before[1:] = p[:-1] * (message[1:] == message[:-1])
    after[:-1] = p[1:] * (message[1:] == message[:-1])
    said += [
        before,
        after,
        np.log(np.clip(p, 1e-4, 1 - 1e-4) / np.maximum(1 - p, 1e-4)) / 4,
        np.full(len(p), sure.any()),
    ]
    return np.stack(said, axis=1).astype(np.float32)


def _convolved(h: Array, weight: Array, gap: int) -> Array:
    """(tokens, channels) by (taps, channels, channels): each token with those `gap` before and after it."""
    mixed: Array = h @ weight[1]
    if len(h) > gap:
        mixed[gap:] += h[:-gap] @ weight[0]
        mixed[:-gap] += h[gap:] @ weight[2]
    return mixed


def softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    shares: Array = raised / raised.sum(-1, keepdims=True)
    return shares


@cache
def load_network() -> Network:
    from safetensors import safe_open

    with safe_open(WEIGHTS, framework="np") as file:
        names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118 - it is no dictionary
        return Network({name.removeprefix(PREFIX): file.get_tensor(name).astype(np.float32) for name in names})
