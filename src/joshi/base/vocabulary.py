"""A tokenizer.json (byte-level BPE) as the metadata from which llama.cpp makes the same tokenizer."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from joshi.base.config_json import read_json
from joshi.base.gguf_write import entry, integers
from joshi.base.tokenizer import CL100K, CONTROL, USER_DEFINED
from joshi.errors import JoshiError

NORMAL, UNUSED = 1, 5  # further values of tokenizer.ggml.token_type


def vocabulary_entries(folder: Path, size: int) -> list[bytes]:
    """Tokens, their kinds, merges, special ids and chat template of a checkpoint; `size` is its embedding's.

    Raises:
        JoshiError: a tokenizer of another family, a split that llama.cpp has no name for, or no chat template.
    """
    tokenizer = read_json(folder / "tokenizer.json")
    settings = read_json(folder / "tokenizer_config.json", missing={})
    try:
        return _entries(folder, tokenizer, settings, size)
    except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:  # of another shape than expected
        raise JoshiError(f"{folder}/tokenizer.json is damaged ({error!r}); get the checkpoint again") from error


def _entries(folder: Path, tokenizer: dict[str, Any], settings: dict[str, Any], size: int) -> list[bytes]:
    path = folder / "tokenizer.json"
    model = tokenizer.get("model", {})
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise JoshiError(f"{path}: tokenizer {model.get('type')} is not supported; byte-level BPE is")
    tokens: dict[int, str] = {i: token for token, i in model["vocab"].items()}
    kinds = dict.fromkeys(tokens, NORMAL)
    for added in tokenizer.get("added_tokens", []):
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    if max(tokens, default=0) >= size:
        raise JoshiError(f"{path} has token {max(tokens)}, the embedding has {size} rows; get the checkpoint again")
    ids = {token: i for i, token in tokens.items()}
    entries = [
        entry("tokenizer.ggml.model", "gpt2"),
        entry("tokenizer.ggml.pre", _split_name(tokenizer, path)),
        entry("tokenizer.ggml.tokens", [tokens.get(i, f"[PAD{i}]") for i in range(size)]),
        integers("tokenizer.ggml.token_type", [kinds.get(i, UNUSED) for i in range(size)]),
        entry("tokenizer.ggml.merges", merges),
    ]
    for key, name in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        token = settings.get(f"{key}_token")
        text = token.get("content") if isinstance(token, dict) else token
        if text in ids:
            entries.append(entry(f"tokenizer.ggml.{name}_token_id", ids[text]))
    if "add_bos_token" in settings:
        entries.append(entry("tokenizer.ggml.add_bos_token", bool(settings["add_bos_token"])))
    return [*entries, entry("tokenizer.chat_template", _template(folder, settings))]


def _template(folder: Path, settings: dict[str, Any]) -> str:
    path = folder / "chat_template.jinja"
    template = path.read_text(encoding="utf-8") if path.is_file() else settings.get("chat_template")
    if not isinstance(template, str):
        raise JoshiError(f"{folder} holds no chat template; choose a checkpoint that was tuned to chat")
    return template


def _split_name(tokenizer: dict[str, Any], path: Path) -> str:
    """llama.cpp's name for how the text is split before merging (llama-vocab.cpp)."""
    top = tokenizer.get("pre_tokenizer") or {}
    steps = top.get("pretokenizers", [top])
    found = [(step.get("type"), _regex(step)) for step in steps]
    match found:
        case [("ByteLevel", None)]:
            return "gpt-2"
        case [("Digits", None), ("ByteLevel", None)] if steps[0].get("individual_digits"):
            return "smollm"
        case [("Split", regex), ("ByteLevel", None)] if regex == CL100K:
            return "llama-bpe" if tokenizer["model"].get("ignore_merges") else "dbrx"
    raise JoshiError(
        f"{path} splits text in a way that is not known here ({[kind for kind, _ in found]}); choose a base of the "
        "Phi-4, Llama 3 or SmolLM2 family"
    )


def _regex(step: dict[str, Any]) -> Any:
    pattern = step.get("pattern")
    return pattern.get("Regex") if isinstance(pattern, dict) else pattern
