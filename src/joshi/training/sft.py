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
from joshi.errors import GateRefused, JoshiError
from joshi.plan import Plan, steps_of, warmup_of
from joshi.progress import SILENT, Progress
from joshi.prompt import ChatTokenizer, Encoded, messages_for
from joshi.schema import Sample
from joshi.stage import Manifest, Stage
from joshi.surrogates import fill
from joshi.training import attention, tracking
from joshi.training.adapter import save_adapter
from joshi.training.objectives import answer_log_probs, sft_loss
from joshi.training.packing import Pack, pack
from joshi.training.trainer import Loop, Step, every, lora, train
from joshi.workspace import Workspace


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    return [*datasets.current_files(plan, workspace), base.folder(workspace) / "tokenizer.json",
            find_base(plan.model.base, workspace.root).path]  # fmt: skip


STAGE = Stage("train sft", ("model", "sft"), _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Train the adapter and write it with run.json.

    Raises:
        JoshiError: a sample does not fit max_length.
        GateRefused: the held-out loss did not fall, so that nothing was learned.
    """
    stage = STAGE.begin(plan, workspace)
    tokenizer = base.tokenizer(workspace)
    training, held_out = datasets.load_split(plan, workspace)
    train_set = encode(training, plan, tokenizer)
    held_out_packs = pack([[encoded] for encoded in encode(held_out, plan, tokenizer)], plan.sft.token_budget)
    steps = plan_steps(training, train_set, plan)
    total = steps_of(len(training), plan.sft.batch_size, plan.sft.epochs)
    loop = Loop(
        plan.sft.learning_rate,
        plan.sft.schedule,
        warmup_of(total, plan.sft.warmup_steps, plan.sft.strict),
        checkpoint_every=every(total, 6),
        evaluate_every=every(total, 2),
    )
    checkpoints = workspace.private / "checkpoints" / f"sft-{stage.key[:12]}"
    set_seed(plan.seed)
    file = find_base(plan.model.base, workspace.root)
    model = lora(load_model(file, attention.NAME), plan, LINEAR[file.architecture])
    log, held_out_log = train(
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
    first, last = held_out_log[0], held_out_log[-1]
    metrics: dict[str, Any] = {
        "steps": total,
        "warmup_steps": loop.warmup_steps,
        "sequences": len(training),
        "trained_tokens": sum(encoded.answer_tokens for encoded in train_set),
        "trie_tokens_per_epoch": sum(p.n_tokens for step in steps for p in step) // plan.sft.epochs,
        "sequence_tokens": sum(len(encoded.ids) for encoded in train_set),
        "heldout_loss": [first["heldout_loss"], last["heldout_loss"]],
        "end_probability": [first["end_probability"], last["end_probability"]],
        "curve": {"log": log, "heldout": held_out_log},
    }
    if last["heldout_loss"] >= first["heldout_loss"]:
        raise GateRefused(
            f"SFT taught nothing: the loss on held-out answers went from {first['heldout_loss']:.3f} to "
            f"{last['heldout_loss']:.3f} in {total} steps; raise [sft] epochs or lower batch_size and run again"
        )
    folder = workspace.artifacts(plan.model.name) / "sft"
    files = save_adapter(model, folder, plan, stage, metrics)
    tracking.record(plan, workspace, "sft", log, held_out_log, metrics)
    shutil.rmtree(checkpoints)
    return stage.finish(files, metrics)


def encode(samples: Sequence[Sample], plan: Plan, tokenizer: ChatTokenizer) -> list[Encoded]:
    """Tokens and loss masks of samples, surrogates filled in.

    Raises:
        JoshiError: a sequence is longer than the plan's max_length; none is cut silently.
    """
    encoded = []
    for sample in samples:
        filled = fill(sample, plan.seed)
        one = tokenizer.encode(messages_for(filled, plan.model.system_prompt), filled.ideal_answer)
        if len(one.ids) > plan.sft.max_length:
            raise JoshiError(
                f"sample {sample.id} has {len(one.ids)} tokens, [sft] max_length is {plan.sft.max_length}; raise it, "
                "or lower [curation] history_turns and freeze again"
            )
        encoded.append(one)
    return encoded


def plan_steps(samples: Sequence[Sample], encoded: Sequence[Encoded], plan: Plan) -> list[Step]:
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
            steps.append(pack([[encoded[i]] for i in batch], plan.sft.token_budget))
    return steps


def measure(model: Any, packs: Sequence[Pack], end_id: int) -> dict[str, float]:
    """Loss a token on held-out answers, and the mean probability of ending where the answer ends."""
    total, count = 0.0, 0
    ends: list[torch.Tensor] = []
    for one in packs:
        log_probs = answer_log_probs(model, one)
        total -= float(log_probs.sum())
        count += log_probs.numel()
        ends.append(log_probs[(one.target == end_id).to(log_probs.device)].exp())
    return {"heldout_loss": total / count, "end_probability": float(torch.cat(ends).mean())}
