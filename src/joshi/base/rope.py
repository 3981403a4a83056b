"""Rotary embedding (Su et al. 2021) and its scalings for long contexts: of a GGUF, and from a checkpoint to one.

Linear (Chen et al. 2023), Llama 3.1's, and LongRoPE (Ding et al. 2024) divide each frequency by a factor of its own;
LongRoPE has two sets of them, and llama.cpp takes the long ones if the window it serves is longer than the original.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joshi.base.config_json import integer, number
from joshi.base.gguf_file import GgufFile
from joshi.base.gguf_write import entry
from joshi.errors import JoshiError

FACTORS = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"

Factors = NDArray[np.float32]


def frequencies(file: GgufFile, window: int) -> tuple[Factors, float]:
    """Radians a token for each pair that is turned, (rotated / 2,), and what cosine and sine are multiplied by.

    `window` is the context in tokens that the model will be served with.

    Raises:
        JoshiError: a scaling that is not known here, or factors of another number.
    """
    architecture = file.architecture

    def value(key: str, default: Any = None) -> Any:
        return file.value(f"{architecture}.rope.{key}", default)

    rotated = rotated_of(file)
    found = float(value("freq_base", 10_000.0)) ** -(np.arange(0, rotated, 2, dtype=np.float32) / rotated)
    kind = value("scaling.type", "none")
    if kind == "linear":
        found /= np.float32(value("scaling.factor", 1.0))
    elif kind not in ("none", "longrope"):
        raise JoshiError(
            f"{file.path}: rope scaled by {kind} cannot be trained; none, linear, longrope and Llama 3's can"
        )
    original = int(value("scaling.original_context_length", 0) or file.need(f"{architecture}.context_length"))
    tensors = {tensor.name: tensor for tensor in file.tensors}
    freqs, long, short = FACTORS
    name = freqs if freqs in tensors else long if window > original else short
    if name in tensors:
        factors = file.weights(tensors[name]).ravel()
        if factors.shape != found.shape or not (factors > 0).all():
            raise JoshiError(f"{file.path}: {name} does not hold {len(found)} positive factors; get the file again")
        found = found / factors
    return found.astype(np.float32), float(value("scaling.attn_factor", 1.0))


def rotated_of(file: GgufFile) -> int:
    """How many numbers of a head are turned; the others pass as they are.

    Raises:
        JoshiError: more than a head has, an odd number, or fewer in an architecture that turns whole heads.
    """
    architecture = file.architecture
    size = int(file.need(f"{architecture}.embedding_length")) // int(file.need(f"{architecture}.attention.head_count"))
    rotated = int(file.value(f"{architecture}.rope.dimension_count", size))
    if not _turns(rotated, size, architecture):
        raise JoshiError(
            f"{file.path}: rope turns {rotated} of a head's {size} numbers, which a {architecture} model cannot; "
            "choose another base"
        )
    return rotated


def _turns(rotated: int, size: int, architecture: object) -> bool:
    """Whether so many of a head's numbers can be turned; transformers' Llama turns whole heads."""
    return 0 < rotated <= size and rotated % 2 == 0 and (architecture != "llama" or rotated == size)


def rotary(file: GgufFile, kind: type[Any], config: Any, window: int) -> Any:
    """A rotary embedding of transformers' class `kind` that turns as the GGUF says."""
    import torch

    with torch.device("cpu"):
        found = kind(config)
        turns, scaling = frequencies(file, window)
        found.inv_freq = torch.from_numpy(turns)
        found.original_inv_freq = found.inv_freq.clone()
        found.attention_scaling = scaling
    return found


def scaling_of(folder: Path, config: dict[str, Any], architecture: str) -> tuple[list[bytes], dict[str, Factors]]:
    """A checkpoint's rope as llama.cpp's converter writes it: key-values, and tensors of factors.

    Raises:
        JoshiError: a scaling that is not known here, or one that is not fully described.
    """
    rope = rope_of(config)
    kind = str(rope.get("rope_type", rope.get("type", "default"))).lower()
    rotated = rotated_in(folder, config)
    prefix = f"{architecture}.rope"
    match kind:
        case "default":
            return [], {}
        case "linear":
            factor = number(folder, "factor", rope.get("factor"))
            return [entry(f"{prefix}.scaling.type", "linear"), entry(f"{prefix}.scaling.factor", factor)], {}
        case "llama3" if architecture == "llama":
            return [], {FACTORS[0]: _llama3(folder, rope, rotated)}
        case "longrope" | "su" if architecture == "phi3":
            original = original_window(folder, config)
            scale = number(folder, "max_position_embeddings", config.get("max_position_embeddings")) / original
            attention = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
            return (
                [entry(f"{prefix}.scaling.attn_factor", attention)],
                {
                    name: _list(folder, rope, key, rotated // 2)
                    for name, key in zip(FACTORS[1:], ("long_factor", "short_factor"), strict=True)
                },
            )
    raise JoshiError(
        f"{folder}/config.json: scaled rope ({kind}) is not supported in a {architecture} model; choose another base"
    )


def rope_of(config: dict[str, Any]) -> dict[str, Any]:
    """As transformers 5 writes it, and as it was written before."""
    now, before = config.get("rope_parameters"), config.get("rope_scaling")
    found = dict(now) if isinstance(now, dict) and now else {"rope_theta": config.get("rope_theta")}
    if isinstance(before, dict) and not now:
        found |= before
    for key in ("partial_rotary_factor", "rope_theta"):
        found.setdefault(key, config.get(key))
    return {key: value for key, value in found.items() if value is not None}


def original_window(folder: Path, config: dict[str, Any]) -> int:
    """Tokens of context before any scaling."""
    key = "original_max_position_embeddings"
    found = rope_of(config).get(key) or config.get(key) or config.get("max_position_embeddings")
    return integer(folder, key, found)


def rotated_in(folder: Path, config: dict[str, Any]) -> int:
    """How many numbers of a head a checkpoint turns."""
    hidden, heads = (integer(folder, key, config.get(key)) for key in ("hidden_size", "num_attention_heads"))
    size = hidden // heads
    share = number(folder, "partial_rotary_factor", rope_of(config).get("partial_rotary_factor", 1.0))
    rotated = int(share * hidden) // heads
    if not _turns(rotated, size, config.get("model_type")):
        raise JoshiError(
            f"{folder}/config.json: partial_rotary_factor = {share} turns {rotated} of a head's {size} numbers, which "
            "is not supported; choose another base"
        )
    return rotated


def _list(folder: Path, rope: dict[str, Any], key: str, length: int) -> Factors:
    values = rope.get(key)
    if not isinstance(values, list) or len(values) != length:
        raise JoshiError(f"{folder}/config.json: {key} must be a list of {length} numbers; get the checkpoint again")
    return np.array([number(folder, key, one) for one in values], dtype=np.float32)


def _llama3(folder: Path, rope: dict[str, Any], rotated: int) -> Factors:
    """Factors of Llama 3.1: long waves are stretched, short ones left, those between blended."""
    base = number(folder, "rope_theta", rope.get("rope_theta", 10_000.0))
    keys = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    factor, low, high, original = (number(folder, key, rope.get(key)) for key in keys)
    exponents = np.arange(0, rotated, 2, dtype=np.float32) / np.float32(rotated)
    waves = 2 * math.pi * np.float32(base) ** exponents
    if high <= low:
        raise JoshiError(
            f"{folder}/config.json: high_freq_factor must exceed low_freq_factor; get the checkpoint again"
        )
    blend = (original / waves - low) / (high - low)
    between = 1 / ((1 - blend) / factor + blend)
    return np.where(waves < original / high, 1, np.where(waves > original / low, factor, between)).astype(np.float32)
