"""Ollama stores an uploaded model as llama-quantize copies it; the double writes the same bytes."""

from __future__ import annotations

from pathlib import Path

from cyllama.llama.llama_cpp import LlamaModelQuantizeParams, model_quantize

from joshi.base.gguf_file import GgufFile

from ..release.ollama_double.gguf_header import rewrite
from ..release.small_models import write_small


def test_a_copy_has_llama_quantizes_bytes_and_copying_it_again_changes_nothing(
    smollm2: GgufFile, tmp_path: Path
) -> None:
    sent = write_small(tmp_path / "sent.gguf", smollm2.path)
    parameters = LlamaModelQuantizeParams()
    parameters.only_copy = True
    model_quantize(str(sent), str(tmp_path / "copy.gguf"), parameters)
    copy = b"".join(rewrite(sent))
    assert copy == (tmp_path / "copy.gguf").read_bytes() != sent.read_bytes()
    assert b"".join(rewrite(tmp_path / "copy.gguf")) == copy
