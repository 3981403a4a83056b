"""What is trained is what is shipped."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, dequantize
from gguf.quants import quantize as reference_quantize
from safetensors.numpy import save_file

from joshi.base.ggml import quantize
from joshi.base.gguf_file import GgufFile
from joshi.base.gguf_write import GgufOut, entry
from joshi.base.lora import Adapter
from joshi.base.tensors import LINEAR, target_of
from joshi.base.weights import load_model
from joshi.errors import GateRefused, JoshiError
from joshi.export.merge import merge, overall
from joshi.export.types import type_of
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
    assert type_of("blk.20.attn_qkv.weight", wide, "Q4_K_M", 40, False) == Type.Q4_K
    assert type_of("token_embd.weight", wide, "Q4_K_M", 40, True) == Type.Q6_K
    assert type_of("token_embd.weight", wide, "Q4_K_M", 40, False) == Type.Q4_K
    assert type_of("blk.20.attn_q.weight", narrow, "Q4_K_M", 40, False) == Type.Q5_0
    assert type_of("blk.0.attn_v.weight", narrow, "Q4_K_M", 40, False) == Type.Q8_0
    assert type_of("blk.0.attn_norm.weight", (1024,), "Q4_K_M", 40, False) == Type.F32


def test_type_rules_of_the_finer_targets() -> None:
    wide = (1024, 1024)
    assert type_of("blk.20.attn_q.weight", wide, "Q5_K_M", 40, False) == Type.Q5_K
    assert type_of("blk.0.ffn_down.weight", wide, "Q5_K_M", 40, False) == Type.Q6_K
    assert type_of("blk.0.attn_qkv.weight", wide, "Q5_K_M", 40, False) == Type.Q6_K
    assert type_of("output.weight", wide, "Q5_K_M", 40, False) == Type.Q6_K
    assert type_of("blk.20.attn_q.weight", wide, "Q6_K", 40, False) == Type.Q6_K
    assert type_of("blk.20.attn_q.weight", (1024, 576), "Q6_K", 40, False) == Type.Q8_0


@pytest.fixture(scope="module")
def down_only(smollm2: GgufFile, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """A LoRA of the ffn_down layers alone."""
    torch.manual_seed(0)
    model = lora(load_model(smollm2), Plan.model_validate({"sft": {"rank": 8}}), ["down_proj"])
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.02)
    folder = tmp_path_factory.mktemp("down")
    model.save_pretrained(str(folder), safe_serialization=True)
    return Adapter.load(folder)


@pytest.mark.parametrize(("quantization", "kind"), [("Q6_K", Type.Q6_K), ("Q5_K_M", None), ("base", None)])
def test_what_the_adapter_leaves_alone_is_copied_byte_for_byte(
    quantization: str, kind: Type | None, smollm2: GgufFile, down_only: Adapter, tmp_path: Path
) -> None:
    path = tmp_path / "merged.gguf"
    kept = merge(smollm2, down_only, quantization, "test", path, nothing)
    merged = GgufFile(path)
    assert {k: v for k, v in merged.header.metadata.items() if k not in ("general.name", "general.file_type")} == {
        k: v for k, v in smollm2.header.metadata.items() if k not in ("general.name", "general.file_type")
    }
    for old, new in zip(smollm2.tensors, merged.tensors, strict=True):
        assert old.name == new.name
        if "ffn_down" in old.name:
            assert kind is None or new.kind == kind
            assert (merged.weights(new) != smollm2.weights(old)).any()
        else:
            assert new.kind == old.kind
            assert merged.raw(new).tobytes() == smollm2.raw(old).tobytes()
    assert len(kept) == 30
    assert min(one.slope for one in kept) >= 0.9


def test_kept_is_the_slope_of_what_was_written(smollm2: GgufFile, down_only: Adapter, tmp_path: Path) -> None:
    """Against a regression over whole tensors in fp64."""
    path = tmp_path / "merged.gguf"
    kept = {one.tensor: one for one in merge(smollm2, down_only, "Q8_0", "test", path, nothing)}
    merged = GgufFile(path)
    for new, old in zip(merged.tensors, smollm2.tensors, strict=True):
        if new.name in kept:
            target = target_of(old.name, smollm2)
            assert target
            delta = down_only.delta(target, old.shape)
            assert delta is not None
            change = (merged.weights(new).astype(np.float64) - smollm2.weights(old)).ravel()
            slope = change @ delta.ravel() / (delta.ravel().astype(np.float64) @ delta.ravel())
            assert kept[new.name].slope == pytest.approx(slope, rel=1e-3)


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


def test_memory_does_not_grow_with_a_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 67 million weights, 268 MB in fp32, is merged in far less."""
    rows, step = 8192, 512
    random = np.random.default_rng(0)
    name = "blk.0.ffn_down.weight"
    with (tmp_path / "base.gguf").open("wb+") as out:
        entries = [entry("general.architecture", "llama"), entry("llama.block_count", 1)]
        model = GgufOut(out, entries, [(name, (rows, rows))])
        some = (random.normal(0, 0.02, (step, rows)).astype(np.float16) for _ in range(rows // step))
        model.write(name, Type.F16, some)
        model.close()
    stem = "model.layers.0.mlp.down_proj"
    factors = {
        f"{stem}.lora_A.weight": random.normal(0, 0.02, (4, rows)).astype(np.float32),
        f"{stem}.lora_B.weight": random.normal(0, 0.02, (rows, 4)).astype(np.float32),
    }
    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # each thread holds a chunk
    tracemalloc.start()
    try:
        kept = merge(
            GgufFile(tmp_path / "base.gguf"), Adapter.of(factors, 1.0), "Q4_K_M", "t", tmp_path / "m.gguf", nothing
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept[0].slope > 0.9
    assert peak < 80_000_000


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
