"""The training step against TRL: same data, same machine, alternating runs in processes of their own.

    python -m benchmarks.training                      # everything, hours on two cores
    python -m benchmarks.training --samples 16 --pairs 8 --rounds 1 --only sft dpo

Each contender trains a LoRA adapter (r = 64, no dropout) of SmolLM2-135M in fp32 for one optimizer step over all rows,
the optimizer's step counted. Figures are ratios of medians; the formula of the GEMM share is in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.figures import show
from joshi.training.allocator import TUNABLES

Figures = dict[str, float]
JOSHI_BUDGET = 1280  # trie tokens of a pack: two samples of `sft`; one alone takes a tenth longer, three no less
WORKLOADS = ("sft", "conversations", "multi_turn", "dpo")
# What each part of the step is worth: the same step without it.
ABLATIONS = {
    "per_sample": "every sequence a pack of its own",
    "no_trunk": "no trunk: every pack computes the system prompt",
    "unfused": "PEFT's layers in place of the fused ones",
    "plain_allocator": "glibc's allocator as it comes",
    "one_thread": "one thread of two",
}


def rows_of(workload: str, n: int, length: int, casino: Path | None) -> list[Any]:
    from benchmarks import workloads

    if workload == "sft":
        return workloads.shared_prompt(n, 1, length - workloads.ANSWER_TOKENS)
    if workload == "dpo":
        return workloads.shared_prompt(n, 2)
    return workloads.buyer_turns([casino] if workload == "multi_turn" and casino else [workloads.EXAMPLE], n)


def gemm_peaks() -> tuple[float, float]:
    """Highest fp32 matrix-multiply rates that a few shapes hold for a second, FLOP/s; no work keeps up with a burst.

    Of torch.mm, which calls MKL and which TRL's step is made of, and of oneDNN, which Joshi calls.
    """
    import torch

    from joshi.training.products import product

    best = [0.0, 0.0]
    for m, k, n in ((1024, 576, 1536), (2048, 1536, 576), (2048, 2048, 2048)):
        a, b = torch.randn(m, k), torch.randn(k, n)
        for of, multiply in enumerate((torch.mm, product)):
            start, products = time.perf_counter(), 0
            while (seconds := time.perf_counter() - start) < 1:
                multiply(a, b)
                products += 1
            best[of] = max(best[of], 2 * m * k * n * products / seconds)
    return best[0], best[1]


def joshi(workload: str, n: int, length: int, casino: Path | None, without: str, budget: int) -> Figures:
    """Our loop over the rows, without one of its parts where ABLATIONS names it."""
    import torch
    from transformers import set_seed

    from joshi.base.find import find_base
    from joshi.base.tensors import LINEAR
    from joshi.plan import Plan
    from joshi.progress import SILENT
    from joshi.training import fused
    from joshi.training.forward import answer_log_probs
    from joshi.training.objectives import sft_loss
    from joshi.training.packing import build, pack, trie_tokens
    from joshi.training.preference import loss_with, reference_log_probs
    from joshi.training.trainer import Loop, frozen_base, lora, train

    if without == "one_thread":
        torch.set_num_threads(1)
    units = [row.sequences for row in rows_of(workload, n, length, casino)]
    plan = Plan.model_validate({"sft": {"dropout": 0.0, "batch_size": n}})
    file = find_base("builtin:smollm2", Path())
    set_seed(7)
    model = lora(frozen_base(file, plan), plan, LINEAR[file.architecture])
    if without != "unfused":
        fused.install(model)
    weights = [
        p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name and "lm_head" not in name
    ]
    frozen, trained = (sum(p.numel() for p in weights if p.requires_grad is flag) for flag in (False, True))
    before = gemm_peaks()
    start = time.perf_counter()
    sharing = without != "per_sample"
    packs = pack(units, budget, without != "no_trunk") if sharing else [build(unit, range(len(unit))) for unit in units]
    if workload == "dpo":
        lengths = torch.tensor([[one.answer_tokens for one in unit] for unit in units])
        loss_of = loss_with(lengths, reference_log_probs(model, packs, lengths, plan, SILENT), plan)
    else:
        targets = sum(one.target.numel() for one in packs)
        loss_of = lambda m, one, step: sft_loss(answer_log_probs(m, one), targets)  # noqa: E731
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(1e-4, "cosine", 0, 10**6, 10**6)
        train(model, [packs], loss_of, lambda m: {}, loop, plan, Path(folder), SILENT, "benchmark", known={})
    seconds = time.perf_counter() - start
    trie = trie_tokens(packs) if sharing else sum(one.n_tokens for one in packs)
    targets = sum(one.target.numel() for one in packs)
    passes = 1.5 if workload == "dpo" else 1.0  # the reference is one forward pass, half of forward and backward
    flops = passes * (4 * (frozen + trained) * trie + 4 * model.get_base_model().lm_head.weight.numel() * targets)
    of_torch, of_onednn = map(max, before, gemm_peaks())
    return {
        "seconds": seconds,
        "tokens": float(sum(len(one.ids) for unit in units for one in unit)),
        "trie_tokens": float(trie),
        "largest_pack": float(max(one.n_tokens for one in packs)),
        "gemm_peak_share": flops / seconds / max(of_torch, of_onednn),
        "gemm_peak_share_of_torch": flops / seconds / of_torch,
    }


def trl(workload: str, n: int, length: int, casino: Path | None, best: bool) -> Figures:
    """TRL's trainer as shipped with batch 8 (DPO: 4), or at its best: batch 1, accumulated, nothing computed twice."""
    from transformers import set_seed

    from benchmarks.peer import trl_trainer
    from joshi.base.find import find_base
    from joshi.base.weights import load_model

    rows = rows_of(workload, n, length, casino)
    set_seed(7)
    model = load_model(find_base("builtin:smollm2", Path()))
    size = 1 if best else (4 if workload == "dpo" else 8)
    with tempfile.TemporaryDirectory() as folder:
        arguments: dict[str, Any] = {"output_dir": folder, "use_cpu": True, "bf16": False, "max_steps": 1}
        if best:
            arguments["gradient_checkpointing"] = False
        trainer = trl_trainer(model, rows, "llama", size, arguments)
        start = time.perf_counter()
        trainer.train()  # DPO's reference pass is in here
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": float(sum(len(one.ids) for row in rows for one in row.sequences))}


def work(name: str, arguments: argparse.Namespace) -> Figures:
    """One contender, in this process."""
    common = (arguments.workload, arguments.n, arguments.length, arguments.casino)
    if name.startswith("trl"):
        figures = trl(*common, best=name == "trl_best")
    else:
        figures = joshi(*common, without=name, budget=arguments.budget)
    return figures | {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0}


def run(
    name: str, workload: str, n: int, arguments: argparse.Namespace, length: int = 630, budget: int = JOSHI_BUDGET
) -> Figures:
    """One contender in a process of its own; all but TRL as shipped get the allocator's settings."""
    command = [
        sys.executable, "-m", "benchmarks.training", "--worker", name, "--workload", workload, "--n", str(n),
        "--length", str(length), "--budget", str(budget),
        *(["--casino", str(arguments.casino)] if arguments.casino else []),
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    if name not in ("trl_default", "plain_allocator"):
        environment["GLIBC_TUNABLES"] = TUNABLES
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} on {workload} failed:\n{done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    rate = figures["tokens"] / figures["seconds"]
    print(f"{workload:14} {name:12} {n:4} rows {figures['seconds']:7.1f} s {rate:6.0f} tokens/s "
          f"{figures['peak_bytes'] / 1e9:5.1f} GB", file=sys.stderr)  # fmt: skip
    return figures


def compare(names: list[str], workload: str, n: int, arguments: argparse.Namespace) -> dict[str, Figures]:
    """Medians of alternating rounds, a contender each."""
    rounds = [{name: run(name, workload, n, arguments) for name in names} for _ in range(arguments.rounds)]
    return {
        name: {key: statistics.median(one[name][key] for one in rounds) for key in rounds[0][name]} for name in names
    }


def rate(figures: Figures) -> float:
    return figures["tokens"] / figures["seconds"]


def bench_sft(arguments: argparse.Namespace) -> Figures:
    found = compare(["joshi", "trl_best"], "sft", arguments.samples, arguments)
    ours, best = found["joshi"], found["trl_best"]
    shipped = compare(["trl_default"], "sft", min(arguments.samples, 32), arguments)["trl_default"]
    # Memory a token: what a pack of 4,096 tokens takes more than one of 1,024.
    small, large = (run("joshi", "sft", n, arguments, budget=10**6) for n in (2, 9))
    return {
        "sft_tokens_per_second": rate(ours),
        "sft_vs_trl_best": rate(ours) / rate(best),
        "sft_vs_trl_default": rate(ours) / rate(shipped),
        "sft_peak_memory_vs_trl": ours["peak_bytes"] / best["peak_bytes"],
        "gemm_peak_share": ours["gemm_peak_share"],
        "gemm_peak_share_of_torch": ours["gemm_peak_share_of_torch"],
        "mb_per_trie_token": (large["peak_bytes"] - small["peak_bytes"])
        / (large["largest_pack"] - small["largest_pack"])
        / 1e6,
    }


def bench_conversations(arguments: argparse.Namespace) -> Figures:
    found = compare(["joshi", "trl_best"], "conversations", arguments.samples, arguments)
    return {"sft_conversations_vs_trl_best": rate(found["joshi"]) / rate(found["trl_best"])}


def bench_multi_turn(arguments: argparse.Namespace) -> Figures:
    """Against TRL, which trains sample by sample, and against our own loop without sharing."""
    found = compare(["joshi", "per_sample", "trl_best"], "multi_turn", arguments.samples, arguments)
    return {
        "multi_turn_vs_per_sample": rate(found["joshi"]) / rate(found["trl_best"]),
        "multi_turn_vs_own_per_sample": rate(found["joshi"]) / rate(found["per_sample"]),
    }


def bench_dpo(arguments: argparse.Namespace) -> Figures:
    found = compare(["joshi", "trl_best"], "dpo", arguments.pairs, arguments)
    return {
        "dpo_tokens_per_second": rate(found["joshi"]),
        "dpo_vs_trl_best": rate(found["joshi"]) / rate(found["trl_best"]),
    }


def bench_parts(arguments: argparse.Namespace) -> Figures:
    """How many times as long the step takes without each of its parts."""
    found = compare(["joshi", *ABLATIONS], "sft", min(arguments.samples, 16), arguments)
    return {f"without_{name}": found[name]["seconds"] / found["joshi"]["seconds"] for name in ABLATIONS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=[*WORKLOADS, "parts"], default=[*WORKLOADS, "parts"])
    parser.add_argument("--casino", type=Path, help="a CaSiNo file; without it, multi_turn takes the example")
    parser.add_argument("--json", action="store_true", help="print the ratios as JSON alone")
    for name, kind in (("--worker", str), ("--workload", str), ("--n", int), ("--length", int), ("--budget", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(work(arguments.worker, arguments)))
        return
    benches: dict[str, Callable[[argparse.Namespace], Figures]] = {
        "sft": bench_sft, "conversations": bench_conversations, "multi_turn": bench_multi_turn, "dpo": bench_dpo,
        "parts": bench_parts,
    }  # fmt: skip
    figures: Figures = {}
    for name in arguments.only:
        figures |= benches[name](arguments)
    show(figures, arguments.json)


if __name__ == "__main__":
    main()
