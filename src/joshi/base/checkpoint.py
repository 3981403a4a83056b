"""A transformers checkpoint (config.json, tokenizer.json, *.safetensors) as one GGUF, a run of rows at a time.

Every later stage then knows one kind of base. Weights keep their precision; names, order of rows, metadata and
tokenizer are those of llama.cpp's convert_hf_to_gguf.py, which the tests compare with.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from joshi.base.config_json import integer, number, read_json
from joshi.base.gguf_file import CHUNK_WEIGHTS
from joshi.base.gguf_write import GgufOut, entry, row_bytes
from joshi.base.rope import original_window, rope_of, rotated_in, scaling_of
from joshi.base.tensors import SUPPORTED, gguf_name, layer_of, to_rope_pairs
from joshi.base.vocabulary import vocabulary_entries
from joshi.errors import JoshiError, Unavailable
from joshi.workspace import atomic, make_folder, require_space, sha256_json

KINDS = {"BF16": Type.BF16, "F16": Type.F16, "F32": Type.F32}  # safetensors' names of the types that are read
FILE_TYPES = {Type.F32: 0, Type.F16: 1, Type.BF16: 32}  # llama.h, llama_ftype


def imported(folder: Path, store: Path) -> Path:
    """The checkpoint's GGUF in `store`, made if it is not there or the checkpoint has changed.

    Raises:
        JoshiError: the checkpoint is damaged, or of an architecture that is not supported.
        Unavailable: torch, which reads its weights, is not installed.
    """
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*.jinja")])
    facts = [(file.name, (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    path = store / f"{folder.name}-{sha256_json(facts)[:12]}.gguf"
    if not path.is_file():
        convert(folder, path)
    return path


def convert(folder: Path, path: Path, weights: bool = True) -> None:
    """Write the checkpoint as a GGUF, without `weights` with holes for them: at once, and in next to no space.

    Raises as `imported` does.
    """
    config = read_json(folder / "config.json")
    architecture = config.get("model_type")
    if architecture not in SUPPORTED:
        raise JoshiError(
            f"{folder}/config.json: model_type {architecture!r} cannot be trained; {' and '.join(SUPPORTED)} can"
        )
    _require_plain(folder, config)
    scaling, factors = scaling_of(folder, config, str(architecture))
    with contextlib.ExitStack() as stack:
        tensors = _open(folder, str(architecture), config, stack)
        kinds = {name: _kind(folder, name, one) for name, (_, one) in tensors.items()}
        main = max(kinds.values(), key=list(kinds.values()).count)
        entries = [
            *_entries(folder, str(architecture), config), *scaling, entry("general.file_type", FILE_TYPES[main]),
            *vocabulary_entries(folder, _integer(folder, config, "vocab_size")),
        ]  # fmt: skip
        shapes = {name: tuple(map(int, one.get_shape())) for name, (_, one) in tensors.items()}
        size = sum(math.prod(shapes[name][:-1]) * row_bytes(shapes[name][-1], kinds[name]) for name in tensors)
        require_space(make_folder(path.parent), size if weights else 0, path.name)
        with atomic(path, "wb+") as out:
            announced = [*shapes.items(), *((name, values.shape) for name, values in factors.items())]
            model = GgufOut(out, entries, announced)
            for name, (heads, one) in tensors.items():
                if weights:
                    model.write(name, kinds[name], _rows(one, shapes[name], kinds[name], heads))
                else:
                    model.leave_out(name, kinds[name])
            for name, values in factors.items():
                model.write(name, Type.F32, [values])
            model.close()


def _open(
    folder: Path, architecture: str, config: dict[str, Any], stack: contextlib.ExitStack
) -> dict[str, tuple[int, Any]]:
    """By GGUF name and in the GGUF's order: the heads that rope's order of rows asks for, and the tensor's slice."""
    try:
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load_file  # noqa: F401 - numpy has no bf16: torch reads it
    except ImportError as error:
        raise Unavailable(f"{folder}: reading a checkpoint needs torch; install joshi[train]") from error
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise JoshiError(f"{folder} holds no *.safetensors file; no other format is read, as pickles can run code")
    heads, key_heads = _integer(folder, config, "num_attention_heads"), _key_heads(folder, config)
    found: dict[str, tuple[int, Any]] = {}
    for path in paths:
        try:
            file = stack.enter_context(safe_open(path, framework="pt"))
        except (OSError, SafetensorError) as error:
            raise JoshiError(f"{path} is damaged: {error}; get the file again") from error
        for name in file.keys():  # noqa: SIM118
            if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                continue
            stem, _, kind = name.rpartition(".")
            mapped = gguf_name(stem, architecture)
            if mapped is None or kind != "weight":
                raise JoshiError(f"{path}: tensor {name} is not known in a {architecture} model")
            if f"{mapped}.weight" in found:
                raise JoshiError(f"{path}: tensor {name} is in another file too; get the checkpoint again")
            n_heads = {"attn_q": heads, "attn_k": key_heads}.get(mapped.rpartition(".")[2], 0)
            found[f"{mapped}.weight"] = (n_heads, file.get_slice(name))
    _require_shapes(folder, found)
    return dict(sorted(found.items(), key=lambda item: _place(item[0])))


def _require_shapes(folder: Path, tensors: dict[str, tuple[int, Any]]) -> None:
    if not tensors:
        raise JoshiError(f"{folder}: its *.safetensors hold no tensor; get the checkpoint again")
    for name, (heads, one) in tensors.items():
        shape = one.get_shape()
        if not 1 <= len(shape) <= 2 or 0 in shape or (heads and shape[0] % (2 * heads)):
            raise JoshiError(
                f"{folder}: {name} has the shape {shape}, which no such model has; get the checkpoint again"
            )


def _place(name: str) -> tuple[int, str]:
    """Embedding, layers by number, final norm, output."""
    layer = layer_of(name)
    if layer is not None:
        return layer, name
    return (-1 if name.startswith("token_embd") else 1 << 20), name


def _kind(folder: Path, name: str, one: Any) -> Type:
    stored = one.get_dtype()
    if stored not in KINDS:
        raise JoshiError(f"{folder}: tensor {name} has type {stored}; {', '.join(KINDS)} are read")
    return Type.F32 if len(one.get_shape()) == 1 else KINDS[stored]  # llama.cpp wants norms in fp32


def _rows(one: Any, shape: tuple[int, ...], kind: Type, heads: int) -> Iterator[NDArray[Any]]:
    import torch

    step = max(1, CHUNK_WEIGHTS // shape[-1])
    head = shape[0] // heads if heads else 1
    step = max(head, step // head * head)  # rope reorders the rows of a head
    for start in range(0, shape[0], step):
        values = one[start : start + step]
        typed = values.to(torch.float32) if kind == Type.F32 else values.contiguous().view(torch.int16)
        raw = typed.numpy()
        yield to_rope_pairs(raw, len(raw) // head) if heads else raw


def _entries(folder: Path, architecture: str, config: dict[str, Any]) -> list[bytes]:
    def whole(key: str) -> int:
        return _integer(folder, config, key)

    heads = whole("num_attention_heads")
    values: dict[str, Any] = {
        "context_length": whole("max_position_embeddings"),
        "embedding_length": whole("hidden_size"),
        "feed_forward_length": whole("intermediate_size"),
        "block_count": whole("num_hidden_layers"),
        "attention.head_count": heads,
        "attention.head_count_kv": _key_heads(folder, config),
        "attention.layer_norm_rms_epsilon": number(folder, "rms_norm_eps", config.get("rms_norm_eps")),
        "rope.dimension_count": rotated_in(folder, config),
        "rope.freq_base": number(folder, "rope_theta", rope_of(config).get("rope_theta", 10_000.0)),
    }
    if architecture == "llama":
        values["vocab_size"] = whole("vocab_size")
    else:
        values |= {
            "rope.scaling.original_context_length": original_window(folder, config),
            "attention.sliding_window": whole("sliding_window") if config.get("sliding_window") else 0,
        }
    return [
        entry("general.architecture", architecture),
        entry("general.type", "model"),
        entry("general.name", folder.name),
        entry("general.quantization_version", 2),  # of ggml's block layouts
        *[entry(f"{architecture}.{key}", value) for key, value in values.items()],
    ]


def _require_plain(folder: Path, config: dict[str, Any]) -> None:
    """Refuse what would be trained or served wrongly."""
    size = _integer(folder, config, "hidden_size") // _integer(folder, config, "num_attention_heads")
    for found, what in (
        ((config.get("head_dim") or size) != size, "heads that do not divide the hidden size"),
        (config.get("attention_bias") or config.get("mlp_bias"), "biases"),
        (config.get("hidden_act", "silu") != "silu", f"the activation {config.get('hidden_act')}"),
    ):
        if found:
            raise JoshiError(f"{folder}/config.json: {what} is not supported yet; choose another base")


def _key_heads(folder: Path, config: dict[str, Any]) -> int:
    return _integer(
        folder, config, "num_key_value_heads" if config.get("num_key_value_heads") else "num_attention_heads"
    )


def _integer(folder: Path, config: dict[str, Any], key: str) -> int:
    return integer(folder, key, config.get(key))
