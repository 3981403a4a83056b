"""Models of one random layer with SmolLM2's tokenizer: 6 MB, loaded and answering nonsense at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType

from joshi.base.gguf_file import GgufFile
from joshi.base.gguf_write import GgufOut, entries_of

WIDTH = 32
SHAPE = {
    "llama.block_count": 1,
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": WIDTH,
    "llama.attention.head_count": 1,
    "llama.attention.head_count_kv": 1,
    "llama.rope.dimension_count": WIDTH,
}


def write_small(path: Path, like: Path, seed: int = 0, **changed: Any) -> Path:
    """A model that llama.cpp runs. `changed` are keys of its metadata, their dots written as two underscores."""
    file = GgufFile(like)
    n_tokens = len(file.need("tokenizer.ggml.tokens"))
    names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (n_tokens, WIDTH)}
    shapes |= {f"blk.0.{name}.weight": (WIDTH, WIDTH) for name in names}
    norms = ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight")
    shapes |= dict.fromkeys(norms, (WIDTH,))
    random = np.random.default_rng(seed)
    keys = {**SHAPE, "general.file_type": 1, **{key.replace("__", "."): value for key, value in changed.items()}}
    with path.open("wb+") as out:
        model = GgufOut(out, entries_of(file, keys), list(shapes.items()))
        for name, shape in shapes.items():
            if len(shape) == 1:
                model.write(name, GGMLQuantizationType.F32, [np.ones(shape, np.float32)])
            else:
                model.write(name, GGMLQuantizationType.F16, [random.normal(0, 0.05, shape).astype(np.float16)])
        model.close()
    return path


def write_header(path: Path, chat_template: str = "", kind: str = "model") -> Path:
    """A GGUF that no llama.cpp would run: a few keys and two tensors, for what only looks at a file."""
    writer = gguf.GGUFWriter(path, "phi3")
    writer.add_type(kind)
    writer.add_name("A name")
    writer.add_context_length(512)
    writer.add_file_type(7)
    if chat_template:
        writer.add_chat_template(chat_template)
    writer.add_tensor("output_norm.weight", np.ones(4, np.float32))
    writer.add_tensor("blk.0.attn_q.weight", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
