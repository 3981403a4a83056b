"""4-bit rounding by what a layer sees, and bases whose unquantised original is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf import dequantize
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model

from joshi.base.checkpoint import convert
from joshi.base.find import find_base
from joshi.base.ggml import quantize
from joshi.base.gguf_file import GgufFile
from joshi.base.lora import Adapter
from joshi.base.tensors import LINEAR
from joshi.errors import JoshiError
from joshi.export import require_same_model
from joshi.export.calibrate import Calibration
from joshi.export.merge import merge
from joshi.export.rounding import DAMPING, Sight, Window, grid_of, with_levels
from joshi.export.types import FOUR_BIT

from ..base.checkpoints import PHI4_TEMPLATE, phi4_tokenizer, save
from .test_export import nothing


@pytest.mark.parametrize("kind", FOUR_BIT)
@given(seed=st.integers(0, 1 << 30), size=st.floats(1e-6, 1e3))
@settings(max_examples=20, deadline=None)
def test_a_grid_is_what_llama_cpp_dequantises(kind: Type, seed: int, size: float) -> None:
    random = np.random.default_rng(seed)
    raw = quantize(random.normal(0, size, (3, 512)).astype(np.float32), kind)
    levels = random.integers(0, 16, (3, 512)).astype(np.uint8)
    scale, offset = (np.repeat(one, 32, axis=1) for one in grid_of(raw, kind))
    np.testing.assert_allclose(
        dequantize(with_levels(raw, levels, kind), kind), scale * levels + offset, rtol=1e-5, atol=1e-30
    )


def gptq(weights: NDArray[np.float64], h: NDArray[np.float64], scale: NDArray[np.float64], offset: NDArray[np.float64],
         order: NDArray[np.int64]) -> NDArray[np.float64]:  # fmt: skip
    """Frantar et al. 2022, equations 2 and 3: a column at a time, its row and column then taken out of H's inverse."""
    weights, inverse, levels = weights.copy(), np.linalg.inv(h), np.zeros(weights.shape)
    for column in order:
        level = np.clip(np.round((weights[:, column] - offset[:, column]) / scale[:, column]), 0, 15)
        levels[:, column] = level
        error = (weights[:, column] - level * scale[:, column] - offset[:, column]) / inverse[column, column]
        weights -= np.outer(error, inverse[column])
        inverse -= np.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    return levels


@pytest.mark.parametrize("kind", FOUR_BIT)
def test_levels_are_those_of_gptq(kind: Type) -> None:
    random = np.random.default_rng(0)
    meant = random.normal(0, 0.02, (16, 256)).astype(np.float32)
    seen = random.normal(0, 1, (900, 256)) @ random.normal(0, 1, (256, 256))
    h = seen.T @ seen
    sight = Sight([Window.of(0, torch.from_numpy(h.astype(np.float32)))])
    raw = sight.rounded(meant, kind)
    scale, offset = (np.repeat(one, 32, axis=1).astype(np.float64) for one in grid_of(raw, kind))
    damped = h + DAMPING * np.diag(h).mean() * np.eye(256)
    expected = gptq(meant.astype(np.float64), damped, scale, offset, np.argsort(-np.diag(h), kind="stable"))
    ours = np.round((dequantize(raw, kind) - offset) / scale)
    assert (ours == expected).mean() > 0.97  # fp32 tips a weight that lies between two levels now and then
    error, nearest = dequantize(raw, kind) - meant, dequantize(quantize(meant, kind), kind) - meant
    assert sight.product(error, error) < 0.6 * sight.product(nearest, nearest)


def test_inputs_that_are_always_zero_round_as_any(tmp_path: Path) -> None:
    h = torch.zeros(256, 256)
    h[:3, :3] = torch.eye(3)
    meant = np.random.default_rng(0).normal(0, 1, (4, 256)).astype(np.float32)
    for found in (h, torch.zeros(256, 256)):
        values = dequantize(Sight([Window.of(0, found)]).rounded(meant, Type.Q4_K), Type.Q4_K)
        assert np.isfinite(values).all()


@pytest.fixture(scope="module", params=["llama", "phi3"])
def tiny(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, torch.nn.Module]:
    """A BF16 checkpoint's GGUF, a LoRA of all its linear layers that vanishes at 4 bits, and the merged model."""
    folder = tmp_path_factory.mktemp(request.param)
    model = save(
        folder / "tiny", request.param, phi4_tokenizer(), PHI4_TEMPLATE, torch.bfloat16, hidden_size=256,
        intermediate_size=512,
    )  # fmt: skip
    convert(folder / "tiny", folder / "original.gguf")
    config = LoraConfig(r=4, lora_alpha=8, target_modules=LINEAR[request.param], task_type="CAUSAL_LM")
    tuned = get_peft_model(model, config)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.03)
    tuned.save_pretrained(str(folder / "adapter"))
    return folder / "original.gguf", folder / "adapter", tuned.merge_and_unload().eval()


def texts() -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(0, 2000, n).tolist() for n in (700, 40, 333)]


def test_a_calibration_sees_what_the_merged_model_computes(tiny: tuple[Path, Path, torch.nn.Module]) -> None:
    original, adapter, model = tiny
    file = GgufFile(original)
    calibration = Calibration(file, Adapter.load(adapter), texts())
    inputs: dict[str, list[torch.Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda m, x, name=name: inputs.setdefault(name, []).append(x[0][0]))
    with torch.no_grad():
        for text in texts():
            model(torch.tensor([text]))
    from joshi.base.tensors import target_of

    seen = 0
    for tensor in file.tensors:
        target = target_of(tensor.name, file)
        if target is None or len(tensor.shape) == 1 or not tensor.name.startswith("blk"):
            continue
        x = torch.cat(inputs[target.name.removesuffix(".weight")]).double()
        (window,) = calibration.sight(tensor).windows
        torch.testing.assert_close(window.h.double(), x.T @ x, rtol=1e-4, atol=1e-2)
        seen += 1
    assert seen == 2 * (7 if file.architecture == "llama" else 4)


def test_windows_of_inputs_are_the_blocks_of_the_whole(
    tiny: tuple[Path, Path, torch.nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = GgufFile(tiny[0])
    down = next(tensor for tensor in file.tensors if tensor.name == "blk.1.ffn_down.weight")
    (whole,) = Calibration(file, None, texts()).sight(down).windows
    monkeypatch.setattr("joshi.export.calibrate.WINDOW", 256)
    first, second = Calibration(file, None, texts()).sight(down).windows
    torch.testing.assert_close(first.h, whole.h[:256, :256])
    torch.testing.assert_close(second.h, whole.h[256:, 256:])
    meant = file.weights(down)
    halves = [Sight([Window.of(0, one.h)]).rounded(np.ascontiguousarray(meant[:, one.columns]), Type.Q4_K)
              for one in (first, second)]  # fmt: skip
    assert (Sight([first, second]).rounded(meant, Type.Q4_K) == np.concatenate(halves, axis=1)).all()


@pytest.fixture
def quantised(tiny: tuple[Path, Path, torch.nn.Module], tmp_path: Path) -> GgufFile:
    """The base as it is published: Q4_K_M."""
    merge(GgufFile(tiny[0]), None, "Q4_K_M", "base", tmp_path / "base.gguf", nothing)
    return GgufFile(tmp_path / "base.gguf")


def test_a_small_delta_survives_at_four_bits_if_calibrated(
    tiny: tuple[Path, Path, torch.nn.Module], quantised: GgufFile, tmp_path: Path
) -> None:
    adapter = Adapter.load(tiny[1])
    lost = merge(quantised, adapter, "Q4_K_M", "m", tmp_path / "lost.gguf", nothing, least=-1e9)
    four_bit = [one for one in lost if one.kind == "Q4_K"]
    assert four_bit
    assert max(one.slope for one in four_bit) < 0.5  # the trap: users would ship the base
    raised = merge(quantised, adapter, "Q4_K_M", "m", tmp_path / "finer.gguf", nothing)
    assert {one.tensor for one in raised if one.raised} >= {one.tensor for one in four_bit}
    calibration = Calibration(quantised, adapter, texts())
    kept = merge(quantised, adapter, "Q4_K_M", "m", tmp_path / "kept.gguf", nothing, calibration)
    assert min(one.share for one in kept) >= 0.9
    assert {one.tensor for one in kept if one.kind == "Q4_K"} == {one.tensor for one in four_bit}
    assert all(one.outputs is not None for one in kept if one.kind == "Q4_K")
    assert {t.name: t.shape for t in GgufFile(tmp_path / "kept.gguf").tensors} == {
        t.name: t.shape for t in quantised.tensors
    }


def test_the_unquantised_original_keeps_a_delta_at_four_bits(
    tiny: tuple[Path, Path, torch.nn.Module], quantised: GgufFile, tmp_path: Path
) -> None:
    original = GgufFile(tiny[0])
    require_same_model(quantised, original)
    kept = merge(original, Adapter.load(tiny[1]), "Q4_K_M", "m", tmp_path / "m.gguf", nothing)
    assert not any(one.raised for one in kept)
    assert min(one.slope for one in kept) >= 0.9


def test_another_model_is_no_original(
    tiny: tuple[Path, Path, torch.nn.Module], quantised: GgufFile, smollm2: GgufFile, tmp_path: Path
) -> None:
    with pytest.raises(JoshiError, match="another architecture or other tokens"):
        require_same_model(quantised, smollm2)
    # The same shapes with other weights: a fine-tune of it, or another release.
    file = GgufFile(tiny[0])
    other = tmp_path / "other.gguf"
    other.write_bytes(file.path.read_bytes())
    tensor = next(one for one in file.tensors if one.name == "blk.0.ffn_down.weight")
    with other.open("rb+") as out:
        out.seek(tensor.offset)
        out.write(file.raw(tensor)[::-1].tobytes())
    with pytest.raises(JoshiError, match=r"blk\.0\.ffn_down\.weight differs by"):
        require_same_model(quantised, GgufFile(other))


def test_an_original_that_is_not_there_is_named_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(JoshiError, match=r'\[export\] original = "gguf:none.gguf"'):
        find_base("gguf:none.gguf", tmp_path, key="[export] original")
