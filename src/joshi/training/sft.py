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

from joshi import base, datasets, tracking
from joshi.base.find import find_base
from joshi.base.tensors import LINEAR
from joshi.errors import GateRefused
from joshi.plan import Plan
from joshi.plan_check import steps_of, warmup_of
from joshi.progress import SILENT, Progress
from joshi.prompt import Encoded
from joshi.schema import Sample
from joshi.stage import Manifest, Stage
from joshi.training import fused, processes
from joshi.training.adapter import save_adapter
from joshi.training.forward import answer_log_probs
from joshi.training.objectives import sft_loss
from joshi.training.onpolicy import answers_measure, trained_weights
from joshi.training.packing import Pack, pack, trie_tokens
from joshi.training.trainer import Loop, Step, Trained, every, frozen_base, lora, train, with_less_memory
from joshi.training.trunk import shared_trunk
from joshi.window import fit_all, turns_cut
from joshi.workspace import Workspace


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    return [*datasets.current_files(plan, workspace), base.folder(workspace) / "tokenizer.json",
            find_base(plan.model.base, workspace.root).path]  # fmt: skip


# Which weights are kept depends on how answers are sampled and what the rubric says of them.
CHOICE = ("rubric", "release.temperature", "release.top_p", "evaluation.max_tokens")
STAGE = Stage("train sft", ("model", "sft", *CHOICE), _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Train the adapter and write it with run.json.

    Raises:
        JoshiError: a sample does not fit max_length, even with all history but the last message cut.
        GateRefused: the loss on development answers did not fall, so that nothing was learned.
    """
    stage = STAGE.begin(plan, workspace)
    tokenizer = base.tokenizer(workspace)
    parts = datasets.load_split(plan, workspace)
    training = parts.training
    fitted, development = fit_all(training, plan, tokenizer), fit_all(parts.development, plan, tokenizer)
    train_set = [one.encoded for one in fitted]
    cut = turns_cut([*fitted, *development])
    if cut:
        progress.say(
            f"{len(cut)} of {len(training) + len(development)} samples are longer than max_length = "
            f"{plan.sft.max_length}; their {sum(cut.values())} oldest turns were cut (joshi mask ID shows a sample)"
        )
    total = steps_of(len(training), plan.sft.batch_size, plan.sft.epochs)
    loop = Loop(
        plan.sft.learning_rate,
        plan.sft.schedule,
        warmup_of(total, plan.sft.warmup_steps, plan.sft.strict),
        checkpoint_every=every(total, 6),
        measure_every=every(total, plan.sft.measurements),
        patience=plan.sft.patience,
        among_equals=lambda measured: -measured["heldout_loss"],
    )
    checkpoints = workspace.private / "checkpoints" / f"sft-{stage.key[:12]}"
    file = find_base(plan.model.base, workspace.root)

    def attempt(token_budget: int) -> tuple[Any, list[Step], Trained]:
        steps = plan_steps(training, train_set, plan, token_budget)
        packs = pack([[one.encoded] for one in development], token_budget, trunk=plan.sft.shares_trunk)
        set_seed(plan.seed)
        model = lora(frozen_base(file, plan), plan, LINEAR[file.architecture], workspace.unfit)
        fused.install(model)
        answers = answers_measure(
            file, development, trained_weights(model), plan, tokenizer, checkpoints, token_budget, progress
        )
        trained = train(
            model,
            steps,
            loss_of=lambda m, one, step: sft_loss(answer_log_probs(m, one), sum(p.target.numel() for p in step)),
            measure=lambda m: measure(m, packs, tokenizer.end_id) | answers(m),
            loop=loop,
            plan=plan,
            folder=checkpoints,
            progress=progress,
            label="training (SFT)",
        )
        return model, steps, trained

    model, steps, trained = with_less_memory(attempt, plan.sft.token_budget, progress)
    first, kept = trained.history[0], trained.kept
    metrics: dict[str, Any] = {
        "steps": len(trained.log),
        "steps_planned": total,
        "kept": kept,
        "warmup_steps": loop.warmup_steps,
        "sequences": len(training),
        "trained_tokens": sum(encoded.answer_tokens for encoded in train_set),
        "trie_tokens_per_epoch": sum(map(trie_tokens, steps)) // plan.sft.epochs,
        "sequence_tokens": sum(len(encoded.ids) for encoded in train_set),
        "turns_cut": cut,
        "heldout_loss": [first["heldout_loss"], kept["heldout_loss"]],
        "end_probability": [first["end_probability"], kept["end_probability"]],
        "curve": {"log": trained.log, "heldout": trained.history},
    }
    if kept["heldout_loss"] >= first["heldout_loss"]:
        raise GateRefused(
            f"SFT taught nothing: the loss on development answers went from {first['heldout_loss']:.3f} to "
            f"{kept['heldout_loss']:.3f} in {total} steps; raise [sft] epochs or lower batch_size and run again"
        )
    if processes.is_main():
        folder = workspace.artifacts(plan.model.name) / "sft"
        files = save_adapter(model, folder, plan, stage, stage.hash_of(file.path), metrics)
        shutil.rmtree(checkpoints)
        tracking.record(plan, workspace, stage.finish(files, metrics))
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
            steps.append(pack([[encoded[i]] for i in batch], token_budget, trunk=plan.sft.shares_trunk))
    return steps


def measure(model: Any, packs: Sequence[Pack], end_id: int) -> dict[str, float]:
    """Loss a token on answers held out of training, and the mean probability of ending where the answer ends."""
    total, count = 0.0, 0
    ends: list[torch.Tensor] = []
    with shared_trunk(model, packs):
        for one in packs:
            log_probs = answer_log_probs(model, one)
            total -= float(log_probs.sum())
            count += log_probs.numel()
            ends.append(log_probs[(one.target == end_id).to(log_probs.device)].exp())
    return {"heldout_loss": total / count, "end_probability": float(torch.cat(ends).mean())}
