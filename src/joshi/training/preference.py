"""Stage 6b: preference pairs from rule-breaking answers, then DPO with a length penalty on the SFT adapter."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from joshi import base, datasets
from joshi.base.find import find_base
from joshi.base.weights import load_model
from joshi.errors import GateRefused
from joshi.plan import Plan, steps_of
from joshi.progress import SILENT, Progress
from joshi.prompt import ChatTokenizer, Encoded
from joshi.schema import Preference, read_records
from joshi.stage import Manifest, Stage
from joshi.training import attention, tracking
from joshi.training.adapter import load_adapter, save_adapter
from joshi.training.objectives import answer_log_probs, dpo_losses, excess, sequence_log_probs, sft_loss
from joshi.training.packing import Pack, pack
from joshi.training.sft import encode, measure
from joshi.training.trainer import Loop, Step, every, train
from joshi.workspace import Workspace


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    return [
        workspace.artifacts(plan.model.name) / "sft" / "adapter_model.safetensors",
        *datasets.current_files(plan, workspace),
        datasets.preferences_path(plan, workspace),
        find_base(plan.model.base, workspace.root).path,
    ]


STAGE = Stage("train preference", ("model", "sft", "preference"), _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Train on the frozen pairs and write the adapter with run.json.

    Raises:
        GateRefused: the policy does not prefer the chosen answers more than before.
    """
    stage = STAGE.begin(plan, workspace)
    tokenizer = base.tokenizer(workspace)
    pairs = list(read_records(datasets.preferences_path(plan, workspace), Preference))
    units = [encode_pair(pair, tokenizer) for pair in pairs]
    _, held_out = datasets.load_split(plan, workspace)
    held_out_packs = pack([[one] for one in encode(held_out, plan, tokenizer)], plan.sft.token_budget)

    set_seed(plan.seed)
    file = find_base(plan.model.base, workspace.root)
    sft = workspace.artifacts(plan.model.name) / "sft"
    model = load_adapter(load_model(file, attention.NAME), sft, trainable=True)
    everything = pack(units, plan.sft.token_budget)
    reference = reference_log_probs(model, everything, len(units), progress)
    steps = plan_steps(units, plan)
    total = steps_of(len(pairs), plan.preference.batch_size, plan.preference.epochs)
    lengths = torch.tensor([[one.answer_tokens for one in unit] for unit in units])  # (pairs, 2)
    long = excess(lengths, plan.preference.length_limit).float()
    loop = Loop(plan.preference.learning_rate, plan.sft.schedule, total // 10, every(total, 3), every(total, 1))
    checkpoints = workspace.private / "checkpoints" / f"dpo-{stage.key[:12]}"

    def loss_of(m: Any, one: Pack, step: Step) -> torch.Tensor:
        in_step = sum(len(p.members) // 2 for p in step)
        token_log_probs = answer_log_probs(m, one)
        losses = _pair_losses(token_log_probs, one, reference, long, plan)
        loss = losses.sum() / in_step
        if plan.preference.sft_weight:
            of_chosen = (one.sequence % 2 == 0).to(token_log_probs.device)
            n_chosen = sum(int((p.sequence % 2 == 0).sum()) for p in step)
            loss = loss + plan.preference.sft_weight * sft_loss(token_log_probs[of_chosen], n_chosen)
        return loss

    def watch(m: Any) -> dict[str, float]:
        return measure(m, held_out_packs, tokenizer.end_id) | rewards(m, everything, reference, plan)

    log, held_out_log = train(
        model, steps, loss_of, watch, loop, plan, checkpoints, progress, "training (DPO)", known=_at_start(sft)
    )
    first, last = held_out_log[0], held_out_log[-1]
    metrics: dict[str, Any] = {
        "pairs": len(pairs),
        "steps": total,
        "tokens_chosen_mean": float(lengths[:, 0].float().mean()),
        "tokens_rejected_mean": float(lengths[:, 1].float().mean()),
        "rejected_over_limit": float((long[:, 1] > 0).float().mean()),
        "reward_accuracy": [first["reward_accuracy"], last["reward_accuracy"]],
        "reward_margin": [first["reward_margin"], last["reward_margin"]],
        "heldout_loss": [first["heldout_loss"], last["heldout_loss"]],
        "curve": {"log": log, "heldout": held_out_log},
    }
    if last["reward_margin"] <= first["reward_margin"]:
        raise GateRefused(
            f"DPO taught nothing: the margin between chosen and rejected answers stayed at {last['reward_margin']:.4f} "
            f'in {total} steps; raise [preference] learning_rate or epochs, or set method = "none"'
        )
    files = save_adapter(model, workspace.artifacts(plan.model.name) / "dpo", plan, stage, metrics)
    tracking.record(plan, workspace, "dpo", log, held_out_log, metrics)
    shutil.rmtree(checkpoints)
    return stage.finish(files, metrics)


def _at_start(sft: Path) -> dict[str, float]:
    """What SFT measured at its end; the rewards of a policy that is its own reference are zero."""
    last = json.loads((sft / "run.json").read_text(encoding="utf-8"))["metrics"]["curve"]["heldout"][-1]
    zero = dict.fromkeys(("reward_margin", "reward_chosen", "reward_rejected"), 0.0)
    measured = {name: last[name] for name in ("heldout_loss", "end_probability")}
    return measured | zero | {"reward_accuracy": 0.5}


def encode_pair(pair: Preference, tokenizer: ChatTokenizer) -> list[Encoded]:
    """The chosen and the rejected answer after their common prompt, in this order."""
    return [tokenizer.encode(pair.prompt, pair.chosen), tokenizer.encode(pair.prompt, pair.rejected)]


def plan_steps(units: Sequence[Sequence[Encoded]], plan: Plan) -> list[Step]:
    """Every optimizer step; pairs are shuffled, packed within a step, and keep their index over the whole set."""
    chooser = random.Random(plan.seed)
    steps: list[Step] = []
    for _ in range(plan.preference.epochs):
        order = list(range(len(units)))
        chooser.shuffle(order)
        for start in range(0, len(order), plan.preference.batch_size):
            batch = order[start : start + plan.preference.batch_size]
            packs = pack([units[i] for i in batch], plan.sft.token_budget)
            steps.append([_rename(one, batch) for one in packs])
    return steps


def _rename(one: Pack, batch: Sequence[int]) -> Pack:
    members = tuple(batch[member // 2] * 2 + member % 2 for member in one.members)
    return Pack(one.input_ids, one.position_ids, one.nodes, one.source, one.target, one.sequence, members)


def reference_log_probs(model: Any, packs: Sequence[Pack], n_pairs: int, progress: Progress) -> torch.Tensor:
    """log p of both answers of every pair under the model as it is now, (pairs, 2); computed once."""
    table = torch.empty(n_pairs * 2)
    model.eval()
    with torch.no_grad(), progress.bar("reference", len(packs)) as advance:
        for one in packs:
            table[list(one.members)] = sequence_log_probs(model, one).cpu()
            advance(1)
    return table.view(n_pairs, 2)


def _pair_losses(
    token_log_probs: torch.Tensor, one: Pack, reference: torch.Tensor, long: torch.Tensor, plan: Plan
) -> torch.Tensor:
    total = torch.zeros(len(one.members), dtype=token_log_probs.dtype, device=token_log_probs.device)
    policy = total.index_add(0, one.sequence.to(total.device), token_log_probs).view(-1, 2)  # (pairs in pack, 2)
    pairs = [member // 2 for member in one.members[::2]]
    ref, over = reference[pairs].to(total.device), long[pairs].to(total.device)
    return dpo_losses(
        policy[:, 0], policy[:, 1], ref[:, 0], ref[:, 1],
        plan.preference.beta, plan.preference.length_penalty, over[:, 0], over[:, 1],
    )  # fmt: skip


def rewards(model: Any, packs: Sequence[Pack], reference: torch.Tensor, plan: Plan) -> dict[str, float]:
    """Implicit rewards beta * log-ratio: accuracy (a tie counts half), margin and means, over all pairs."""
    ratios = torch.empty(reference.numel())
    for one in packs:
        ratios[list(one.members)] = sequence_log_probs(model, one).cpu()
    reward = plan.preference.beta * (ratios.view(-1, 2) - reference)
    margin = reward[:, 0] - reward[:, 1]
    return {
        "reward_accuracy": float((margin > 0).float().mean() + (margin == 0).float().mean() / 2),
        "reward_margin": float(margin.mean()),
        "reward_chosen": float(reward[:, 0].mean()),
        "reward_rejected": float(reward[:, 1].mean()),
    }
