"""An F16 model exported without an adapter is the file that llama-quantize writes, tensor by tensor, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cyllama.llama.llama_cpp import LlamaModelQuantizeParams, model_quantize
from gguf import GGMLQuantizationType as Type

from joshi.base.checkpoint import convert
from joshi.base.gguf_file import GgufFile, chunks_of
from joshi.base.gguf_write import GgufOut, entries_of
from joshi.export.merge import merge
from joshi.export.types import FILE_TYPES

from ..base.checkpoints import PHI4_TEMPLATE, phi4_tokenizer, save


def halves(file: GgufFile, path: Path) -> Path:
    """The same model with all its matrices in F16."""
    with path.open("wb+") as out:
        model = GgufOut(out, entries_of(file, {}), [(tensor.name, tensor.shape) for tensor in file.tensors])
        for tensor in file.tensors:
            kind, dtype = (Type.F32, "<f4") if len(tensor.shape) == 1 else (Type.F16, "<f2")
            model.write(tensor.name, kind, (file.weights(tensor, rows).astype(dtype) for rows in chunks_of(tensor)))
        model.close()
    return path


def deep_phi4(folder: Path) -> Path:
    """Fused projections, rows of 256 and more, and layers enough for the rule that gives some of them more bits."""
    save(
        folder / "tiny", "phi3", phi4_tokenizer(), PHI4_TEMPLATE, torch.float16, hidden_size=256, intermediate_size=512,
        num_hidden_layers=16,
    )  # fmt: skip
    convert(folder / "tiny", folder / "tiny.gguf")
    return folder / "tiny.gguf"


@pytest.mark.parametrize("quantization", FILE_TYPES)
@pytest.mark.parametrize("model", ["smollm2", "phi4"])
def test_types_and_bytes_are_llama_quantizes(model: str, quantization: str, smollm2: GgufFile, tmp_path: Path) -> None:
    source = halves(smollm2, tmp_path / "f16.gguf") if model == "smollm2" else deep_phi4(tmp_path)
    merge(GgufFile(source), None, quantization, "m", tmp_path / "ours.gguf", lambda n: None)
    parameters = LlamaModelQuantizeParams()
    parameters.ftype = FILE_TYPES[quantization]
    model_quantize(str(source), str(tmp_path / "theirs.gguf"), parameters)
    ours, theirs = GgufFile(tmp_path / "ours.gguf"), GgufFile(tmp_path / "theirs.gguf")
    assert ours.value("general.file_type") == theirs.value("general.file_type")
    others = {tensor.name: tensor for tensor in theirs.tensors}
    assert others.keys() == {tensor.name for tensor in ours.tensors}
    for tensor in ours.tensors:
        assert tensor.kind == others[tensor.name].kind, tensor.name
        assert ours.raw(tensor).tobytes() == theirs.raw(others[tensor.name]).tobytes(), tensor.name
