"""What is trained is what is shipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, dequantize
from gguf.quants import quantize as reference_quantize
from safetensors.numpy import save_file

from joshi.base.gguf_file import GgufFile
from joshi.base.lora import Adapter
from joshi.base.tensors import LINEAR
from joshi.base.weights import load_model
from joshi.errors import GateRefused, JoshiError
from joshi.export.merge import merge, overall
from joshi.export.quantize import quantize, type_of
from joshi.plan import Plan
from joshi.training.trainer import lora


def nothing(amount: int) -> None:
    pass


@pytest.fixture(scope="module")
def adapter(smollm2: GgufFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of every layer with a delta of the size that training makes."""
    torch.manual_seed(0)
    model = lora(load_model(smollm2), Plan.model_validate({"sft": {"rank": 8}}), LINEAR["llama"])
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.02)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(str(folder), safe_serialization=True)
    return folder


@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q5_0, Type.Q4_1, Type.F16])
def test_kernels_equal_an_independent_quantiser(kind: Type) -> None:
    rows = np.random.default_rng(0).normal(0, 1, (8, 512)).astype(np.float32)
    ours = dequantize(quantize(rows, kind), kind).reshape(rows.shape)
    theirs = dequantize(reference_quantize(rows, kind), kind).reshape(rows.shape)
    assert np.abs(ours - rows).mean() <= np.abs(theirs - rows).mean() * 1.02


def test_type_rule_of_q4_k_m() -> None:
    wide, narrow = (1024, 1024), (1024, 576)
    assert type_of("blk.0.attn_v.weight", wide, "Q4_K_M", 40, False) == Type.Q6_K
    assert type_of("blk.20.attn_q.weight", wide, "Q4_K_M", 40, False) == Type.Q4_K
    assert type_of("blk.20.attn_qkv.weight", wide, "Q4_K_M", 40, False) == Type.Q5_K
    assert type_of("token_embd.weight", wide, "Q4_K_M", 40, True) == Type.Q6_K
    assert type_of("token_embd.weight", wide, "Q4_K_M", 40, False) == Type.Q4_K
    assert type_of("blk.20.attn_q.weight", narrow, "Q4_K_M", 40, False) == Type.Q5_0
    assert type_of("blk.0.attn_v.weight", narrow, "Q4_K_M", 40, False) == Type.Q8_0
    assert type_of("blk.0.attn_norm.weight", (1024,), "Q4_K_M", 40, False) == Type.F32


def test_merged_f16_gives_pefts_logits(smollm2: GgufFile, adapter: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    path = tmp_path / "merged.gguf"
    merge(smollm2, Adapter.load(adapter), "F16", "test", path, nothing)
    merged = load_model(GgufFile(path)).eval()
    tuned = PeftModel.from_pretrained(load_model(smollm2), str(adapter)).eval()
    ids = torch.arange(100, 160)[None]
    with torch.no_grad():
        difference = (merged(ids).logits - tuned(ids).logits).abs().max()
        size = (tuned(ids).logits - load_model(smollm2)(ids).logits).abs().max()
    assert float(difference) < 0.05 * float(size)


def test_the_fine_tune_survives_q4_k_m(smollm2: GgufFile, adapter: Path, tmp_path: Path) -> None:
    path = tmp_path / "q4.gguf"
    kept = merge(smollm2, Adapter.load(adapter), "Q4_K_M", "test", path, nothing)
    assert len(kept) == 7 * 30
    assert min(one.slope for one in kept) >= 0.9
    assert overall(kept) > 0.9
    reader = GGUFReader(path)
    assert {t.name for t in reader.tensors} == {t.name for t in smollm2.tensors}
    ours = {k for k in reader.fields if not k.startswith("GGUF.")}
    assert ours >= set(smollm2.header.metadata)
    assert reader.fields["general.file_type"].contents() == 15


def test_a_delta_that_the_grid_would_swallow_is_written_finer(smollm2: GgufFile, tmp_path: Path) -> None:
    """SmolLM2's ffn_down lies on a 4-bit grid and Q4_K is one: a small delta there needs a finer type."""
    torch.manual_seed(0)
    model = lora(load_model(smollm2), Plan.model_validate({"sft": {"rank": 8}}), ["down_proj"])
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.001)
    model.save_pretrained(str(tmp_path / "adapter"), safe_serialization=True)
    path = tmp_path / "q4.gguf"
    kept = merge(smollm2, Adapter.load(tmp_path / "adapter"), "Q4_K_M", "test", path, nothing)
    assert any(one.raised for one in kept)
    assert min(one.slope for one in kept) >= 0.9
    written = {t.name: t.tensor_type.name for t in GGUFReader(path).tensors}
    assert all(written[one.tensor] == one.kind for one in kept)


def test_a_delta_that_no_type_keeps_is_refused_and_the_old_file_stays(smollm2: GgufFile, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = lora(load_model(smollm2), Plan.model_validate({"sft": {"rank": 8}}), ["down_proj"])
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 1e-7)
    model.save_pretrained(str(tmp_path / "adapter"), safe_serialization=True)
    path = tmp_path / "model.gguf"
    path.write_bytes(b"the release of last month")
    with pytest.raises(GateRefused, match=r"0\.9 is needed"):
        merge(smollm2, Adapter.load(tmp_path / "adapter"), "Q4_K_M", "test", path, nothing)
    assert path.read_bytes() == b"the release of last month"


def test_an_adapter_of_another_base_is_refused(smollm2: GgufFile, adapter: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file(
        {f"{stem}.lora_A.weight": np.ones((8, 64), np.float32), f"{stem}.lora_B.weight": np.ones((64, 8), np.float32)},
        wrong / "adapter_model.safetensors",
    )
    path = tmp_path / "out.gguf"
    with pytest.raises(JoshiError, match="another base"):
        merge(smollm2, Adapter.load(wrong), "Q4_K_M", "test", path, nothing)
    assert list(tmp_path.glob("*.gguf")) == []
    assert list(tmp_path.glob(".*partial")) == []


def test_a_file_that_is_no_adapter_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": 8}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(JoshiError, match="no readable adapter"):
        Adapter.load(tmp_path)
