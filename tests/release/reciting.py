"""A model that says one text: its whole memory is which token follows which. llama.cpp runs it like any other."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np

from joshi.base.gguf_file import GgufFile
from joshi.base.tokenizer import CONTROL, chat_tokenizer
from joshi.schema import Message

GOOD = "I can see why that matters on your side. Could you tell us what the next date is?"
ROBOTIC = "Dear Supplier, please do not hesitate to contact us for any further information."
WIDTH = 64  # random directions of so many dimensions are at right angles, nearly enough
N_MERGES = 6_000  # of the tokenizer's, most frequent first: a small vocabulary is soon read
SCALARS = ("model", "pre", "bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id", "add_bos_token")


def write_reciting(path: Path, text: str, like: Path, seed: int = 0) -> Path:
    """Write a GGUF with the frequent part of another's vocabulary that answers every chat with `text`.

    Attention and feed-forward are zero, so the residual stream is the last token's embedding; the output matrix turns
    each token's direction into the next one's logit. A token that came twice would have two successors, so a text in
    which one does is said in tokens of its own: its words, a repeated one together with those after it.
    """
    file = GgufFile(like)
    tokens, kinds, merges = (file.need(f"tokenizer.ggml.{key}") for key in ("tokens", "token_type", "merges"))
    made = {merge.replace(" ", "", 1) for merge in merges[N_MERGES:]}
    kept = [(token, kind) for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL or token not in made]
    _write(path, file, kept, merges[:N_MERGES], {}, seed)  # a first time, to have its tokenizer
    tokenizer = chat_tokenizer(GgufFile(path))
    said = tokenizer.ids(text)
    if len(set(said)) < len(said):
        words = _words_once(text)
        known = {token: i for i, (token, _) in enumerate(kept)}
        kept += [(word, int(gguf.TokenType.NORMAL)) for word in words if word not in known]
        known = {token: i for i, (token, _) in enumerate(kept)}
        said = [known[word] for word in words]
    last = tokenizer.prompt([Message(role="user", content="a")])[-1]
    chain = [last, *said, tokenizer.end_id]
    assert len(set(chain)) == len(chain), "the text begins or ends with the chat template's own tokens"
    return _write(path, file, kept, merges[:N_MERGES], dict(pairwise(chain)), seed)


def _words_once(text: str) -> list[str]:
    """The words of an ASCII text as byte-level BPE writes them, no two the same."""
    assert text.isascii()
    found: list[str] = []
    taken = ""
    for word in text.replace("\n", "Ċ").replace(" ", " Ġ").split(" "):
        taken += word
        if taken not in found:
            found.append(taken)
            taken = ""
    assert not taken, "the last words of the text come before"
    return found


def _write(
    path: Path, file: GgufFile, vocabulary: list[tuple[str, int]], merges: list[str], follows: dict[int, int], seed: int
) -> Path:
    random = np.random.default_rng(seed)
    embedding = random.normal(0, 1, (len(vocabulary), WIDTH)).astype(np.float16)
    output = np.zeros((len(vocabulary), WIDTH), np.float16)
    for token, successor in follows.items():
        output[successor] = embedding[token] / 2  # a logit of about 32; the others of the chain stay below 15
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Recites one text")
    writer.add_context_length(8192)
    writer.add_block_count(1)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(WIDTH)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([kind for _, kind in vocabulary])
    writer.add_token_merges(merges)
    writer.add_chat_template(file.need("tokenizer.chat_template"))
    for key in SCALARS:
        value = file.value(f"tokenizer.ggml.{key}")
        if isinstance(value, bool):
            writer.add_bool(f"tokenizer.ggml.{key}", value)
        elif isinstance(value, int):
            writer.add_uint32(f"tokenizer.ggml.{key}", value)
        elif isinstance(value, str):
            writer.add_string(f"tokenizer.ggml.{key}", value)
    tensors = {"token_embd": embedding, "output": output}
    tensors |= {f"blk.0.{name}": np.zeros((WIDTH, WIDTH), np.float16) for name in ("attn_q", "attn_k", "attn_v")}
    tensors |= {"blk.0.attn_output": np.zeros((WIDTH, WIDTH), np.float16)}
    tensors |= {f"blk.0.{name}": np.zeros((32, WIDTH), np.float16) for name in ("ffn_gate", "ffn_up")}
    tensors |= {"blk.0.ffn_down": np.zeros((WIDTH, 32), np.float16)}
    norms = ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")
    for name, values in {**tensors, **{name: np.ones(WIDTH, np.float32) for name in norms}}.items():
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
