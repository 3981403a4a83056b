"""The base model comes in as llama.cpp and transformers see it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.base.tensors import to_rope_halves, to_rope_pairs
from joshi.base.tokenizer import chat_tokenizer
from joshi.base.weights import load_model
from joshi.errors import JoshiError, Unavailable
from joshi.export.merge import copy_metadata
from joshi.workspace import sha256_file


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
    path = tmp_path / "mixed.gguf"
    writer = GGUFWriter(path, arch="llama")
    template = str(smollm2.need("tokenizer.chat_template")).replace("<|im_end|>", "<|im_sep|>")
    copy_metadata(smollm2, writer, {"tokenizer.chat_template": template})
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with pytest.raises(JoshiError, match=r"mixed\.gguf: its chat template writes <\|im_sep\|>, which the tokenizer"):
        chat_tokenizer(GgufFile(path))


def test_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(JoshiError, match=r"\[model\] base = \"gguf:none.gguf\".*does not exist"):
        find_base("gguf:none.gguf", tmp_path)


def test_missing_ollama_model_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="ollama pull phi4:latest"):
        find_base("ollama:phi4", tmp_path, {"OLLAMA_MODELS": str(tmp_path)})


def ollama_store(folder: Path, smollm2: GgufFile) -> Path:
    digest = sha256_file(smollm2.path)
    (folder / "blobs").mkdir(parents=True)
    blob = folder / "blobs" / f"sha256-{digest}"
    shutil.copy(smollm2.path, blob)
    manifest = folder / "manifests" / "registry.ollama.ai" / "library" / "phi4" / "latest"
    manifest.parent.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
    manifest.write_text(json.dumps({"layers": [layer]}))
    return blob


def test_ollama_store_is_read_and_verified(tmp_path: Path, smollm2: GgufFile) -> None:
    blob = ollama_store(tmp_path, smollm2)
    environment = {"OLLAMA_MODELS": str(tmp_path)}
    assert find_base("ollama:phi4", tmp_path, environment).path == blob
    with blob.open("r+b") as file:
        file.seek(1000)
        file.write(b"tampered")
    with pytest.raises(JoshiError, match="does not have the sha256 in its name"):
        find_base("ollama:phi4", tmp_path, environment)


def test_a_digest_cannot_leave_the_store(tmp_path: Path, smollm2: GgufFile) -> None:
    ollama_store(tmp_path, smollm2)
    manifest = tmp_path / "manifests/registry.ollama.ai/library/phi4/latest"
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../etc/passwd"}
    manifest.write_text(json.dumps({"layers": [layer]}))
    with pytest.raises(JoshiError, match="no Ollama manifest"):
        find_base("ollama:phi4", tmp_path, {"OLLAMA_MODELS": str(tmp_path)})


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
