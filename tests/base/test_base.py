"""The base model comes in as llama.cpp and transformers see it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.base.tensors import to_rope_halves, to_rope_pairs
from joshi.base.tokenizer import chat_tokenizer
from joshi.base.weights import load_model
from joshi.errors import JoshiError

from ..gguf_files import rewrite


def test_weights_equal_transformers_own_dequantisation(smollm2: GgufFile) -> None:
    from transformers import AutoModelForCausalLM

    ours = load_model(smollm2).state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(smollm2.path.parent, gguf_file=smollm2.path.name).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 5))
@settings(deadline=None)
def test_rope_orders_are_inverse(heads: int, half: int, columns: int) -> None:
    rows = torch.randn(heads * half * 2, columns).numpy()
    assert (to_rope_halves(to_rope_pairs(rows, heads), heads) == rows).all()


def test_a_template_with_tokens_that_the_tokenizer_lacks_is_refused(smollm2: GgufFile, tmp_path: Path) -> None:
    """SmolLM2 has no <|im_sep|>: with Phi-4's template its turns would never end their header."""
    template = str(smollm2.need("tokenizer.chat_template")).replace("<|im_end|>", "<|im_sep|>")
    mixed = rewrite(smollm2, tmp_path / "mixed.gguf", {"tokenizer.chat_template": template}, keep=lambda tensor: False)
    with pytest.raises(JoshiError, match=r"mixed\.gguf: its chat template writes <\|im_sep\|>, which the tokenizer"):
        chat_tokenizer(mixed)


def test_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(JoshiError, match=r"\[model\] base = \"gguf:none.gguf\".*does not exist"):
        find_base("gguf:none.gguf", tmp_path)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04zip", b"GGUF" + b"\xff" * 64])
def test_damaged_files_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(JoshiError, match=r"bad\.gguf"):
        GgufFile(path).architecture  # noqa: B018 - reading is what is tried


def test_a_truncated_file_is_refused(tmp_path: Path, smollm2: GgufFile) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(smollm2.path.read_bytes()[:50_000_000])
    with pytest.raises(JoshiError, match=r"cut\.gguf"):
        load_model(GgufFile(path))
