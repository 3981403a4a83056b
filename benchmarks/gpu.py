"""The training step on a GPU against TRL: the embedded base's shape in bf16, and Phi-4's in NF4 within 40 GB.

    python -m benchmarks.gpu

Weights are drawn at random: speed and memory depend on shapes alone. Each contender trains LoRA (r = 64, no dropout)
for four optimizer steps over all rows, of which the middle two are timed, the optimizer's step counted; compiling falls
into the first. Of several batch sizes, and of our token budgets, the fastest counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from gguf import GGMLQuantizationType as Type
from transformers import TrainerCallback, set_seed

from benchmarks import workloads
from benchmarks.figures import show
from benchmarks.peer import trl_trainer
from benchmarks.phi4 import RandomWeights, write_shapes
from joshi.base.find import find_base
from joshi.base.memory import training_memory
from joshi.base.tensors import LINEAR
from joshi.base.weights import load_model
from joshi.plan import Plan
from joshi.progress import SILENT
from joshi.prompt import Encoded
from joshi.training.forward import answer_log_probs
from joshi.training.objectives import sft_loss
from joshi.training.packing import Pack, pack, trie_tokens
from joshi.training.preference import loss_with, reference_log_probs
from joshi.training.trainer import Loop, Step, frozen_base, lora, train

Figures = dict[str, float]
STEPS = 4
CARD = 40e9  # bytes: the plan's machine


class Clock(TrainerCallback):  # type: ignore[misc]
    """When each optimizer step began, seconds, everything before it done."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def tick(self) -> None:
        torch.cuda.synchronize()
        self.marks.append(time.perf_counter())

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.tick()

    def figures(self, units: Sequence[Sequence[Encoded]]) -> Figures:
        seconds = (self.marks[-1] - self.marks[1]) / (STEPS - 2)
        return {
            "seconds": seconds,
            "tokens_per_second": sum(len(one.ids) for unit in units for one in unit) / seconds,
            "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        }


def planned(**sft: Any) -> Plan:
    return Plan.model_validate({"sft": {"dropout": 0.0, **sft}})


def joshi(model: Any, units: Sequence[Sequence[Encoded]], plan: Plan) -> Figures:
    """Our loop; units of two sequences are pairs, whose reference is known before the clock starts."""
    packs = pack(units, plan.sft.token_budget)
    clock = Clock()
    if len(units[0]) == 2:
        lengths = torch.tensor([[one.answer_tokens for one in unit] for unit in units])
        inner = loss_with(lengths, reference_log_probs(model, packs, lengths, plan, SILENT), plan)
    else:
        targets = sum(one.target.numel() for one in packs)
        inner = lambda m, one, step: sft_loss(answer_log_probs(m, one), targets)  # noqa: E731

    def loss_of(m: Any, one: Pack, step: Step) -> torch.Tensor:
        if len(clock.marks) < STEPS and one is max(step, key=lambda other: other.n_tokens):  # a step's first
            clock.tick()
        return inner(m, one, step)

    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(1e-4, "cosine", 0, 10**6, 10**6)
        train(model, [packs] * STEPS, loss_of, lambda m: {}, loop, plan, Path(folder), SILENT, "benchmark", known={})
    return clock.figures(units) | {"trie_tokens": float(trie_tokens(packs))}


def trl(model: Any, rows: Sequence[workloads.Row], architecture: str, size: int, recompute: bool) -> Figures:
    """TRL's trainer over the same rows, `size` of them at a time."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = {"output_dir": folder, "bf16": True, "max_steps": STEPS, "gradient_checkpointing": recompute}
        trainer = trl_trainer(model, rows, architecture, size, arguments, [clock])
        torch.cuda.reset_peak_memory_stats()
        trainer.train()
        trainer.accelerator.unwrap_model(trainer.model).unload()  # the base as it was, for the next contender
    return clock.figures([row.sequences for row in rows])


def rows_of(workload: str, n: int) -> list[workloads.Row]:
    if workload == "conversations":
        return workloads.buyer_turns([workloads.EXAMPLE], n)
    return workloads.shared_prompt(n, 2 if workload == "dpo" else 1)


def ours(file: Any, plan: Plan) -> Any:
    set_seed(7)
    return lora(frozen_base(file, plan), plan, LINEAR[file.architecture])


def small(workload: str, n: int) -> Figures:
    """The embedded base's shape, in bf16."""
    file = RandomWeights(find_base("builtin:smollm2", Path()).path)
    rows = rows_of(workload, n)
    units = [row.sequences for row in rows]
    mine, theirs = [], []
    for budget in (16_384, 65_536):
        plan = planned(token_budget=budget)
        mine.append(say(f"joshi {workload}, {budget} tokens", joshi(ours(file, plan), units, plan)))
    for size in (32, 64) if workload == "dpo" else (64, 128):
        model = load_model(file, device="cuda")
        theirs.append(say(f"TRL {workload}, batch {size}", trl(model, rows, "llama", size, recompute=False)))
    return ratios(f"135m_{workload}", fastest(mine), fastest(theirs))


def fastest(attempts: Sequence[Figures]) -> Figures:
    return max(attempts, key=lambda one: one["tokens_per_second"])


def ratios(name: str, mine: Figures, theirs: Figures) -> Figures:
    return {
        f"{name}_tokens_per_second": mine["tokens_per_second"],
        f"{name}_vs_trl": mine["tokens_per_second"] / theirs["tokens_per_second"],
        f"{name}_peak_gb": mine["peak_gb"],
        f"{name}_peak_vs_trl": mine["peak_gb"] / theirs["peak_gb"],
    }


def phi4(n: int, n_pairs: int) -> Figures:
    """Phi-4's shape, NF4 with activations made again, on a card of 40 GB."""
    fraction = min(1.0, CARD / torch.cuda.mem_get_info()[1])
    torch.cuda.set_per_process_memory_fraction(fraction)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phi4.gguf"
        write_shapes(path, Type.BF16)
        file = RandomWeights(path)
        plan = planned(token_budget=4096, quantization="nf4", recompute=True)
        start = time.perf_counter()
        model = ours(file, plan)
        estimate = training_memory(file, plan, gpu=True)
    found = {
        "phi4_load_seconds": time.perf_counter() - start,
        "phi4_weights_gb": torch.cuda.memory_allocated() / 1e9,
        "phi4_weights_estimate_gb": estimate.weights / 1e9,
        "phi4_total_estimate_gb": estimate.total / 1e9,
    }
    sft, pairs = rows_of("sft", n), rows_of("dpo", n_pairs)
    mine = {
        name: say(f"joshi Phi-4 {name}", joshi(model, [row.sequences for row in rows], plan))
        for name, rows in (("sft", sft), ("dpo", pairs))
    }
    torch.cuda.set_per_process_memory_fraction(1.0)
    found |= {f"phi4_mb_per_token_{name}": a_token(model, sft[:4], recompute)
              for name, recompute in (("kept", False), ("made_again", True))}  # fmt: skip
    torch.cuda.set_per_process_memory_fraction(fraction)
    base = model.unload()
    base.__dict__.pop("forward")
    base.set_attn_implementation("sdpa")
    torch.cuda.empty_cache()
    for name, rows, sizes in (("sft", sft, (4, 8)), ("dpo", pairs, (2, 4))):
        theirs = []
        for size in sizes:
            try:
                figures = trl(base, rows, "phi3", size, recompute=True)
            except torch.OutOfMemoryError:
                print(f"TRL Phi-4 {name}, batch {size}: more than 40 GB", file=sys.stderr)
                break
            theirs.append(say(f"TRL Phi-4 {name}, batch {size}", figures))
        if theirs:
            found |= ratios(f"phi4_{name}", mine[name], fastest(theirs))
    return found


def a_token(model: Any, rows: Sequence[workloads.Row], recompute: bool) -> float:
    """What one token more of a pack takes, MB."""
    units = [row.sequences for row in rows]
    causal = model.get_base_model()
    peaks, lengths = [], []
    for budget in (700, 1400):
        plan = planned(token_budget=budget, quantization="nf4", recompute=recompute)
        if recompute:
            causal.gradient_checkpointing_enable({"use_reentrant": False})
        else:
            causal.gradient_checkpointing_disable()
        peaks.append(joshi(model, units, plan)["peak_gb"])
        lengths.append(max(one.n_tokens for one in pack(units, budget)))
    return 1000 * (peaks[1] - peaks[0]) / (lengths[1] - lengths[0])


def say(name: str, figures: Figures) -> Figures:
    text = "  ".join(f"{key} {value:.3g}" for key, value in figures.items())
    print(f"{name:28} {text}", file=sys.stderr, flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--only", nargs="*", choices=["sft", "conversations", "dpo", "phi4"],
                        default=["sft", "conversations", "dpo", "phi4"])  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the ratios as JSON alone")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU is here; python -m benchmarks.training measures on a CPU")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", file=sys.stderr)
    figures: Figures = {}
    for name in arguments.only:
        if name == "phi4":
            figures |= phi4(arguments.samples // 2, arguments.pairs // 2)
        else:
            figures |= small(name, arguments.pairs if name == "dpo" else arguments.samples)
    show(figures, arguments.json)


if __name__ == "__main__":
    main()
