"""What training will take is told from a file's header, before anything is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.phi4 import write_shapes
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter

from joshi.base.gguf_file import GgufFile
from joshi.base.memory import training_memory
from joshi.plan import Plan

GB = 1_000_000_000


@pytest.fixture(scope="module")
def phi4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phi4") / "phi4.gguf"
    write_shapes(path, Type.Q4_K)
    assert path.stat().st_size > 8 * GB
    assert path.stat().st_blocks * 512 < GB / 10
    return path


def planned(**sft: object) -> Plan:
    return Plan.model_validate({"sft": sft})


def test_phi4_fits_40_gb_only_in_4_bits_with_activations_made_again(phi4: Path) -> None:
    file = GgufFile(phi4)
    assert 14.6e9 < file.parameters < 14.8e9
    plain = training_memory(file, planned(), gpu=True)
    four_bit = training_memory(file, planned(quantization="nf4"), gpu=True)
    both = training_memory(file, planned(quantization="nf4", recompute=True), gpu=True)
    assert plain.weights == 2 * file.parameters
    assert 8 * GB < four_bit.weights < 10 * GB
    assert 3 * GB < four_bit.lora < 4 * GB
    assert four_bit.total > 40 * GB
    assert both.total < 40 * GB


def test_a_larger_budget_takes_more(smollm2: GgufFile) -> None:
    small, large = (training_memory(smollm2, planned(token_budget=n, dropout=0.0), gpu=False) for n in (1024, 4096))
    assert large.activations == pytest.approx(4 * small.activations)
    assert 0.7e6 < small.activations / 1024 < 0.8e6
    assert (large.weights, large.lora, large.logits) == (small.weights, small.lora, small.logits)


def test_doctor_judges_a_gpu_by_its_memory(phi4: Path, tmp_path: Path) -> None:
    (tmp_path / "joshi.toml").write_text(f'[model]\nbase = "gguf:{phi4}"\n[sft]\nquantization = "nf4"\n', "utf-8")
    command = [sys.executable, "-m", "joshi", "--workspace", str(tmp_path), "doctor", "--memory", "40"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    training = json.loads(done.stdout)["training"]
    assert training["on"] == "gpu"
    assert not training["fits"]
    assert training["alternatives"]["recompute = true"] < training["available_bytes"] == 40 * GB
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "does not fit a GPU's 40.0 GB" in " ".join(shown.replace("│", " ").split())


@pytest.mark.parametrize(
    ("architecture", "numbers", "told"),
    [
        ("llama", True, "has no decoder layers; choose another base"),
        ("llama", False, "lacks llama.block_count"),
        ("llama\x1b[2J\n", False, "general.architecture holds characters that no name has"),
    ],
)
def test_a_base_that_is_none_is_one_plain_sentence(architecture: str, numbers: bool, told: str, tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "base.gguf", architecture)
    if numbers:
        for add in (writer.add_block_count, writer.add_embedding_length, writer.add_feed_forward_length):
            add(32)
        writer.add_head_count(4)
    writer.add_token_list(["a", "b"])
    writer.add_tensor("token_embd.weight", np.zeros((2, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (tmp_path / "joshi.toml").write_text('[model]\nbase = "gguf:base.gguf"\n', "utf-8")
    command = [sys.executable, "-m", "joshi", "--workspace", str(tmp_path), "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.strip().isprintable()
