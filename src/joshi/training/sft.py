"""Stage 6a: LoRA supervised fine-tuning on answer tokens."""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from joshi import base, datasets
from joshi.base.find import find_base
from joshi.base.tensors import LINEAR
from joshi.base.weights import load_model
from joshi.errors import GateRefused
from joshi.plan import Plan, steps_of, warmup_of
from joshi.progress import SILENT, Progress
from joshi.prompt import Encoded
from joshi.schema import Sample
from joshi.stage import Manifest, Stage
from joshi.training import attention, forward, fused, processes, tracking
from joshi.training.adapter import save_adapter
from joshi.training.forward import answer_log_probs
from joshi.training.objectives import sft_loss
from joshi.training.packing import Pack, pack, trie_tokens
from joshi.training.trainer import Loop, Step, every, lora, train, with_less_memory
from joshi.training.trunk import shared_trunk
from joshi.window import fit_all, turns_cut
from joshi.workspace import Workspace


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    return [*datasets.current_files(plan, workspace), base.folder(workspace) / "tokenizer.json",
            find_base(plan.model.base, workspace.root).path]  # fmt: skip


STAGE = Stage("train sft", ("model", "sft"), _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Train the adapter and write it with run.json.

    Raises:
        JoshiError: a sample does not fit max_length, even with all history but the last message cut.
        GateRefused: the held-out loss did not fall, so that nothing was learned.
    """
    stage = STAGE.begin(plan, workspace)
    tokenizer = base.tokenizer(workspace)
    training, held_out = datasets.load_split(plan, workspace)
    fitted, fitted_held_out = fit_all(training, plan, tokenizer), fit_all(held_out, plan, tokenizer)
    train_set = [one.encoded for one in fitted]
    cut = turns_cut([*fitted, *fitted_held_out])
    if cut:
        progress.say(
            f"{len(cut)} of {len(training) + len(held_out)} samples are longer than max_length = "
            f"{plan.sft.max_length}; their {sum(cut.values())} oldest turns were cut (joshi mask ID shows a sample)"
        )
    total = steps_of(len(training), plan.sft.batch_size, plan.sft.epochs)
    loop = Loop(
        plan.sft.learning_rate,
        plan.sft.schedule,
        warmup_of(total, plan.sft.warmup_steps, plan.sft.strict),
        checkpoint_every=every(total, 6),
        evaluate_every=every(total, 2),
    )
    checkpoints = workspace.private / "checkpoints" / f"sft-{stage.key[:12]}"
    file = find_base(plan.model.base, workspace.root)

    def attempt(token_budget: int) -> tuple[Any, list[Step], list[dict[str, float]], list[dict[str, float]]]:
        steps = plan_steps(training, train_set, plan, token_budget)
        held_out_packs = pack([[one.encoded] for one in fitted_held_out], token_budget)
        set_seed(plan.seed)
        model = lora(
            forward.install(load_model(file, attention.NAME, plan.sft.quantization)), plan, LINEAR[file.architecture]
        )
        fused.install(model)
        log, watched = train(
            model,
            steps,
            loss_of=lambda m, one, step: sft_loss(answer_log_probs(m, one), sum(p.target.numel() for p in step)),
            measure=lambda m: measure(m, held_out_packs, tokenizer.end_id),
            loop=loop,
            plan=plan,
            folder=checkpoints,
            progress=progress,
            label="training (SFT)",
        )
        return model, steps, log, watched

    model, steps, log, held_out_log = with_less_memory(attempt, plan.sft.token_budget, progress)
    first, last = held_out_log[0], held_out_log[-1]
    metrics: dict[str, Any] = {
        "steps": total,
        "warmup_steps": loop.warmup_steps,
        "sequences": len(training),
        "trained_tokens": sum(encoded.answer_tokens for encoded in train_set),
        "trie_tokens_per_epoch": sum(map(trie_tokens, steps)) // plan.sft.epochs,
        "sequence_tokens": sum(len(encoded.ids) for encoded in train_set),
        "turns_cut": cut,
        "heldout_loss": [first["heldout_loss"], last["heldout_loss"]],
        "end_probability": [first["end_probability"], last["end_probability"]],
        "curve": {"log": log, "heldout": held_out_log},
    }
    if last["heldout_loss"] >= first["heldout_loss"]:
        raise GateRefused(
            f"SFT taught nothing: the loss on held-out answers went from {first['heldout_loss']:.3f} to "
            f"{last['heldout_loss']:.3f} in {total} steps; raise [sft] epochs or lower batch_size and run again"
        )
    if processes.is_main():
        folder = workspace.artifacts(plan.model.name) / "sft"
        files = save_adapter(model, folder, plan, stage, metrics)
        tracking.record(plan, workspace, "sft", log, held_out_log, metrics)
        shutil.rmtree(checkpoints)
        stage.finish(files, metrics)
    processes.wait()
    return stage.finished()


def plan_steps(samples: Sequence[Sample], encoded: Sequence[Encoded], plan: Plan, token_budget: int) -> list[Step]:
    """Every optimizer step of the run. Conversations are shuffled, not samples, so that turns share their history."""
    conversations: dict[str, list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        conversations[sample.provenance.conversation_id].append(i)
    chooser = random.Random(plan.seed)
    steps: list[Step] = []
    for _ in range(plan.sft.epochs):
        order = sorted(conversations)
        chooser.shuffle(order)
        flat = [i for name in order for i in conversations[name]]
        for start in range(0, len(flat), plan.sft.batch_size):
            batch = flat[start : start + plan.sft.batch_size]
            steps.append(pack([[encoded[i]] for i in batch], token_budget))
    return steps


def measure(model: Any, packs: Sequence[Pack], end_id: int) -> dict[str, float]:
    """Loss a token on held-out answers, and the mean probability of ending where the answer ends."""
    total, count = 0.0, 0
    ends: list[torch.Tensor] = []
    with shared_trunk(model, packs):
        for one in packs:
            log_probs = answer_log_probs(model, one)
            total -= float(log_probs.sum())
            count += log_probs.numel()
            ends.append(log_probs[(one.target == end_id).to(log_probs.device)].exp())
    return {"heldout_loss": total / count, "end_probability": float(torch.cat(ends).mean())}
