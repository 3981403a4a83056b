"""Phi-4's shapes (Abdin et al. 2024) as a GGUF that takes no disk, and random weights for any GGUF's shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from joshi.base.gguf_file import GgufFile, Tensor
from joshi.base.gguf_write import GgufOut, entry

HIDDEN, INNER, LAYERS, VOCABULARY, HEADS, KEY_HEADS = 5120, 17_920, 40, 100_352, 40, 10  # 14.7 billion weights


def write_shapes(path: Path, kind: Type) -> None:
    """A GGUF with holes where its weights would be."""
    size = HIDDEN // HEADS
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (VOCABULARY, HIDDEN), "output": (VOCABULARY, HIDDEN)}
    for i in range(LAYERS):
        shapes |= {
            f"blk.{i}.attn_qkv": ((HEADS + 2 * KEY_HEADS) * size, HIDDEN), f"blk.{i}.attn_output": (HIDDEN, HIDDEN),
            f"blk.{i}.ffn_up": (2 * INNER, HIDDEN), f"blk.{i}.ffn_down": (HIDDEN, INNER),
            f"blk.{i}.attn_norm": (HIDDEN,), f"blk.{i}.ffn_norm": (HIDDEN,),
        }  # fmt: skip
    shapes["output_norm"] = (HIDDEN,)
    numbers: dict[str, int | float] = {
        "block_count": LAYERS, "embedding_length": HIDDEN, "feed_forward_length": INNER, "context_length": 16_384,
        "attention.head_count": HEADS, "attention.head_count_kv": KEY_HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 250_000.0, "rope.dimension_count": size,
    }  # fmt: skip
    entries = [
        entry("general.architecture", "phi3"),
        *(entry(f"phi3.{key}", value) for key, value in numbers.items()),
        entry("tokenizer.ggml.tokens", [f"t{i}" for i in range(VOCABULARY)]),
    ]
    with path.open("wb") as file:
        out = GgufOut(file, entries, [(f"{name}.weight", shape) for name, shape in shapes.items()])
        for name, shape in shapes.items():
            out.leave_out(f"{name}.weight", Type.F32 if len(shape) == 1 else kind)
        out.close()


class RandomWeights(GgufFile):
    """A GGUF whose weights are drawn at random, whatever the file holds: speed and memory depend on shapes alone.

    Matrices are normal with a deviation of 0.02, cut from one run of numbers; norms are ones.
    """

    drawn = np.random.default_rng(0).standard_normal(1 << 24, dtype=np.float32) * np.float32(0.02)

    def weights(self, tensor: Tensor, rows: slice = slice(None)) -> NDArray[np.float32]:
        start, stop, _ = rows.indices(tensor.n_rows)
        shape = (stop - start, tensor.shape[-1])
        if len(tensor.shape) == 1:
            return np.ones(shape, dtype=np.float32)
        wanted = shape[0] * shape[1]
        at = start * shape[1] % (len(self.drawn) - wanted)
        return self.drawn[at : at + wanted].reshape(shape)
