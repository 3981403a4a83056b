"""A model that says one text: its whole memory is which token follows which. llama.cpp runs it like any other."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np

from joshi.base.gguf_file import GgufFile
from joshi.base.tokenizer import chat_tokenizer
from joshi.schema import Message

WIDTH = 64  # random directions of so many dimensions are at right angles, nearly enough
GOOD = "I can see why that matters on your side. Could you tell us what the next date is?"
SHAPE = {
    "llama.block_count": 1,
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": 32,
    "llama.attention.head_count": 1,
    "llama.attention.head_count_kv": 1,
    "llama.rope.dimension_count": WIDTH,
}


def write_reciting(path: Path, text: str, vocabulary: Path, seed: int = 0) -> Path:
    """Write a GGUF with the vocabulary of another that answers every prompt of its chat template with `text`.

    Attention and feed-forward are zero, so the residual stream is the last token's embedding; the output matrix turns
    each token's direction into the next one's logit. No token of `text` may come twice.
    """
    tokenizer = chat_tokenizer(GgufFile(vocabulary))
    last = tokenizer.prompt([Message(role="user", content="a")])[-1]
    chain = [last, *tokenizer.ids(text), tokenizer.end_id]
    assert len(set(chain)) == len(chain), "a token that comes twice would have two successors"
    fields = gguf.GGUFReader(vocabulary).fields
    n_tokens = len(fields["tokenizer.ggml.tokens"].contents())
    random = np.random.default_rng(seed)
    embedding = random.normal(0, 1, (n_tokens, WIDTH)).astype(np.float16)
    output = np.zeros((n_tokens, WIDTH), np.float16)
    for token, successor in pairwise(chain):
        output[successor] = embedding[token] / 2  # a logit of about 32; the others of the chain stay below 15
    writer = gguf.GGUFWriter(path, "llama")
    for name, field in fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, SHAPE.get(name, field.contents()), field.types[0], inner)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((WIDTH, WIDTH), np.float16))
    for name, shape in {"ffn_gate": (32, WIDTH), "ffn_up": (32, WIDTH), "ffn_down": (WIDTH, 32)}.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float16))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
