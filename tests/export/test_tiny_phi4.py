"""A tiny Phi-4 from checkpoint to served model: at each door training, transformers and llama.cpp see one model."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import torch
from transformers import set_seed

from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.base.lora import Adapter, write_adapter
from joshi.base.tensors import LINEAR
from joshi.base.tokenizer import chat_tokenizer
from joshi.base.weights import load_model
from joshi.export.merge import merge
from joshi.llama import Adapted, Weights, running
from joshi.plan import Plan
from joshi.progress import SILENT
from joshi.schema import Message
from joshi.training.forward import answer_log_probs
from joshi.training.objectives import sft_loss
from joshi.training.packing import Pack, pack
from joshi.training.trainer import Loop, Step, frozen_base, lora, train

from ..base.checkpoints import PHI4_TEMPLATE, phi4_tokenizer, save
from .test_export import nothing

PLAN = Plan.model_validate({"sft": {"rank": 8, "dropout": 0.0}})


def served(model: Weights, ids: list[int]) -> dict[int, float]:
    """llama.cpp's log-probabilities of the twenty likeliest tokens after these."""
    with running(model, PLAN) as address, httpx.Client(base_url=address, timeout=60) as client:
        body = {"prompt": ids, "n_predict": 1, "n_probs": 20, "temperature": 0, "cache_prompt": False}
        found = client.post("/completion", json=body).json()["completion_probabilities"][0]["top_logprobs"]
    return {one["id"]: one["logprob"] for one in found}


@torch.no_grad()
def predicted(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    found: torch.Tensor = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    return found


def assert_one_model(mine: torch.Tensor, theirs: dict[int, float], tolerance: float) -> None:
    assert max(abs(float(mine[token]) - value) for token, value in theirs.items()) < tolerance


@pytest.mark.parametrize("quantised", [False, True], ids=["from BF16", "from its Q4_K_M"])
def test_import_train_export_serve(quantised: bool, tmp_path: Path) -> None:
    checkpoint = save(
        tmp_path / "tiny", "phi3", phi4_tokenizer(), PHI4_TEMPLATE, torch.bfloat16, hidden_size=256,
        intermediate_size=512,
    )  # fmt: skip
    file = find_base(f"hf:{tmp_path / 'tiny'}", tmp_path)
    chat = chat_tokenizer(file)
    if quantised:  # as a base comes out of an Ollama store
        merge(file, None, "Q4_K_M", "base", tmp_path / "base.gguf", nothing)
        file = GgufFile(tmp_path / "base.gguf")
    talk = [
        chat.encode([Message(role="user", content=f"Steel costs {n}% more.")], f"Noted. Can you hold {n} days?")
        for n in range(8)
    ]
    ids = talk[3].ids[:-2]

    # The first door: what training starts from is what llama.cpp serves, and, unquantised, what transformers reads.
    base = load_model(file).eval()
    if not quantised:
        torch.testing.assert_close(predicted(base, ids), predicted(checkpoint, ids), atol=1e-3, rtol=1e-3)
    assert_one_model(predicted(base, ids), served(file.path, ids), 0.1)

    # Training.
    steps: list[Step] = [pack([[one] for one in talk], 256) for _ in range(20)]

    def loss(model: torch.nn.Module, one: Pack, step: Step) -> torch.Tensor:
        return sft_loss(answer_log_probs(model, one), sum(p.target.numel() for p in step))

    set_seed(7)
    model = lora(frozen_base(file, PLAN), PLAN, LINEAR["phi3"])
    loop = Loop(learning_rate=2e-2, schedule="cosine", warmup_steps=1, checkpoint_every=20, measure_every=20)
    measure = lambda m: {"heldout_loss": float(-answer_log_probs(m, steps[0][0]).mean())}  # noqa: E731
    trained = train(model, steps, loss, measure, loop, PLAN, tmp_path / "run", SILENT, "test")
    assert trained.log[-1]["loss"] < 0.5 * trained.log[0]["loss"]
    model.save_pretrained(str(tmp_path / "adapter"))
    adapter = Adapter.load(tmp_path / "adapter")

    # The second door: merged without rounding, and as an adapter beside the base, it is what was trained.
    merge(file, adapter, "F16", "m", tmp_path / "f16.gguf", nothing)
    tuned = load_model(GgufFile(tmp_path / "f16.gguf")).eval()
    assert (predicted(tuned, ids) - predicted(base, ids)).abs().max() > 1  # it learned something
    (target,) = pack([[talk[3]]], 256)
    with torch.no_grad():
        expected = answer_log_probs(model.eval(), target)
    together = torch.tensor([talk[3].ids])
    with torch.no_grad():
        every = tuned(together).logits[0].log_softmax(-1)
    first = talk[3].trained.index(True)
    ours = torch.stack([every[i - 1, talk[3].ids[i]] for i in range(first, len(talk[3].ids))])
    torch.testing.assert_close(ours, expected, atol=0.02, rtol=0.02)
    assert_one_model(predicted(tuned, ids), served(tmp_path / "f16.gguf", ids), 0.1)
    write_adapter(file, adapter, tmp_path / "adapter.gguf")
    assert_one_model(predicted(tuned, ids), served(Adapted(file.path, tmp_path / "adapter.gguf"), ids), 0.2)

    # The last door: what is shipped.
    kept = merge(file, adapter, "Q4_K_M", "m", tmp_path / "q4.gguf", nothing)
    assert min(one.slope for one in kept) >= 0.9
    shipped = load_model(GgufFile(tmp_path / "q4.gguf")).eval()
    assert_one_model(predicted(shipped, ids), served(tmp_path / "q4.gguf", ids), 0.2)
