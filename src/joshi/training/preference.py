"""Stage 6b: DPO, SimPO or ORPO with a length penalty on the SFT adapter, from the frozen pairs."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import set_seed

from joshi import base, datasets, tracking
from joshi.base.find import find_base
from joshi.base.lora import require_base
from joshi.errors import GateRefused, JoshiError
from joshi.plan import Plan
from joshi.plan_check import steps_of
from joshi.progress import SILENT, Progress
from joshi.prompt import ChatTokenizer, Encoded
from joshi.schema import Preference, read_records
from joshi.stage import Manifest, Stage
from joshi.training import fused, processes
from joshi.training.adapter import load_adapter, save_adapter
from joshi.training.forward import answer_log_probs, per_sequence
from joshi.training.objectives import (
    dpo_losses,
    excess,
    ld_weights,
    length_penalties,
    orpo_losses,
    sft_loss,
    simpo_losses,
)
from joshi.training.onpolicy import answers_measure, trained_weights
from joshi.training.packing import Pack, pack
from joshi.training.sft import CHOICE, measure
from joshi.training.trainer import Loop, LossOf, Step, Trained, every, frozen_base, train, with_less_memory
from joshi.training.trunk import shared_trunk
from joshi.window import fit_all
from joshi.workspace import Workspace, atomic_path, sha256_json


def _inputs(plan: Plan, workspace: Workspace) -> list[Path]:
    return [
        workspace.artifacts(plan.model.name) / "sft" / "adapter_model.safetensors",
        *datasets.current_files(plan, workspace),
        datasets.preferences_path(plan, workspace),
        find_base(plan.model.base, workspace.root).path,
    ]


STAGE = Stage("train preference", ("model", "sft", "preference", *CHOICE), _inputs)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Train on the frozen pairs and write the adapter with run.json.

    Raises:
        JoshiError: a pair does not fit max_length.
        GateRefused: the policy does not prefer the chosen answers more than before.
    """
    stage = STAGE.begin(plan, workspace)
    tokenizer = base.tokenizer(workspace)
    pairs = list(read_records(datasets.preferences_path(plan, workspace), Preference))
    units = [encode_pair(pair, plan, tokenizer) for pair in pairs]
    lengths = torch.tensor([[one.answer_tokens for one in unit] for unit in units])  # (pairs, 2)
    development = fit_all(datasets.load_split(plan, workspace).development, plan, tokenizer)
    file = find_base(plan.model.base, workspace.root)
    sft = workspace.artifacts(plan.model.name) / "sft"
    require_base(sft, stage.hash_of(file.path))
    checkpoints = workspace.private / "checkpoints" / f"preference-{stage.key[:12]}"
    # Everything that the reference depends on: another beta, rate or number of epochs finds it made.
    key = sha256_json([stage.hashes, plan.sha256("model", "sft.quantization", "sft.max_length", "preference.ld_alpha")])
    known_reference = workspace.cache / "reference" / f"{key[:16]}.safetensors"
    total = steps_of(len(pairs), plan.preference.batch_size, plan.preference.epochs)
    loop = Loop(
        plan.preference.learning_rate, plan.sft.schedule, total // 10, every(total, 3),
        every(total, max(1, plan.sft.measurements // 2)), plan.sft.patience,
    )  # fmt: skip

    def attempt(token_budget: int) -> tuple[Any, Trained]:
        set_seed(plan.seed)
        model = load_adapter(frozen_base(file, plan), sft, trainable=True)
        fused.install(model)
        everything = pack(units, token_budget, trunk=plan.sft.shares_trunk)
        packs = pack([[one.encoded] for one in development], token_budget, trunk=plan.sft.shares_trunk)
        answers = answers_measure(
            file, development, trained_weights(model), plan, tokenizer, checkpoints, token_budget, progress
        )
        reference = None
        if plan.preference.method == "dpo":
            reference = cached(
                known_reference, lengths.shape, lambda: reference_log_probs(model, everything, lengths, plan, progress)
            )

        def watch(m: Any) -> dict[str, float]:
            figures = measure(m, packs, tokenizer.end_id) | rewards(m, everything, lengths, reference, plan)
            return figures | answers(m)

        trained = train(
            model, plan_steps(units, plan, token_budget), loss_with(lengths, reference, plan), watch, loop, plan,
            checkpoints, progress, f"training ({plan.preference.method.upper()})", known=_at_start(sft, plan),
        )  # fmt: skip
        return model, trained

    model, trained = with_less_memory(attempt, plan.sft.token_budget, progress)
    first, kept = trained.history[0], trained.kept
    both_ends = ("reward_accuracy", "reward_margin", "heldout_loss")
    metrics: dict[str, Any] = {
        "method": plan.preference.method,
        "pairs": len(pairs),
        "steps": len(trained.log),
        "steps_planned": total,
        "kept": kept,
        "tokens_chosen_mean": float(lengths[:, 0].float().mean()),
        "tokens_rejected_mean": float(lengths[:, 1].float().mean()),
        "rejected_over_limit": float((excess(lengths[:, 1], plan.preference.length_limit) > 0).float().mean()),
        **{name: [first[name], kept[name]] for name in both_ends},
        "curve": {"log": trained.log, "heldout": trained.history},
    }
    if kept.get("pass_rate", 0) < first.get("pass_rate", 0):
        progress.warn(
            f"after {plan.preference.method.upper()} {kept['pass_rate']:.0%} of the sampled answers pass every rule, "
            f"before it {first['pass_rate']:.0%}; if the evaluation agrees, lower [preference] learning_rate or set "
            'method = "none"'
        )
    if kept["reward_margin"] <= first["reward_margin"]:
        raise GateRefused(
            f"{plan.preference.method.upper()} taught nothing: the margin between chosen and rejected answers went "
            f"from {first['reward_margin']:.4f} to {kept['reward_margin']:.4f} in {total} steps; raise [preference] "
            'learning_rate or epochs, or set method = "none"'
        )
    if processes.is_main():
        folder = workspace.artifacts(plan.model.name) / "dpo"
        files = save_adapter(model, folder, plan, stage, stage.hash_of(file.path), metrics)
        shutil.rmtree(checkpoints)
        tracking.record(plan, workspace, stage.finish(files, metrics))
    processes.wait()
    return stage.finished()


def encode_pair(pair: Preference, plan: Plan, tokenizer: ChatTokenizer) -> list[Encoded]:
    """The chosen and the rejected answer after their common prompt, in this order.

    Raises:
        JoshiError: one of them is longer than the window; pairs are cut when they are made, not here.
    """
    both = [tokenizer.encode(pair.prompt, pair.chosen), tokenizer.encode(pair.prompt, pair.rejected)]
    longest = max(len(one.ids) for one in both)
    if longest > plan.sft.max_length:
        raise JoshiError(
            f"pair {pair.id} has {longest} tokens, [sft] max_length is {plan.sft.max_length}; raise it, or remove the "
            "pairs' file and run 'joshi train preference' to make pairs that fit"
        )
    return both


def plan_steps(units: Sequence[Sequence[Encoded]], plan: Plan, token_budget: int) -> list[Step]:
    """Every optimizer step; pairs are shuffled, packed within a step, and keep their index over the whole set."""
    chooser = random.Random(plan.seed)
    steps: list[Step] = []
    for _ in range(plan.preference.epochs):
        order = list(range(len(units)))
        chooser.shuffle(order)
        for start in range(0, len(order), plan.preference.batch_size):
            batch = order[start : start + plan.preference.batch_size]
            packs = pack([units[i] for i in batch], token_budget, trunk=plan.sft.shares_trunk)
            steps.append([_rename(one, batch) for one in packs])
    return steps


def _rename(one: Pack, batch: Sequence[int]) -> Pack:
    return replace(one, members=tuple(batch[member // 2] * 2 + member % 2 for member in one.members))


def loss_with(lengths: torch.Tensor, reference: torch.Tensor | None, plan: Plan) -> LossOf:
    """A pack's share of its step's mean pair loss, plus the chosen answers' cross-entropy where the method has it."""
    settings = plan.preference
    sft_weight = 1.0 if settings.method == "orpo" else settings.sft_weight

    def loss_of(model: Any, one: Pack, step: Step) -> torch.Tensor:
        tokens = answer_log_probs(model, one)
        policy = pair_log_probs(tokens, one, lengths, plan)
        pairs = pairs_of(one)
        losses = pair_losses(policy, lengths[pairs], None if reference is None else reference[pairs], plan)
        loss = losses.sum() / sum(len(p.members) // 2 for p in step)
        if sft_weight:
            of_chosen = (one.sequence % 2 == 0).to(tokens.device)
            n_chosen = sum(int((p.sequence % 2 == 0).sum()) for p in step)
            loss = loss + sft_weight * sft_loss(tokens[of_chosen], n_chosen)
        return loss

    return loss_of


def pairs_of(one: Pack) -> list[int]:
    """Indices, over the whole set, of the pairs in a pack."""
    return [member // 2 for member in one.members[::2]]


def pair_log_probs(tokens: torch.Tensor, one: Pack, lengths: torch.Tensor, plan: Plan) -> torch.Tensor:
    """log p of both answers of each pair in the pack, (pairs, 2), weighted as LD-DPO does where the plan says so."""
    if plan.preference.method == "dpo" and plan.preference.ld_alpha < 1:
        counts = torch.bincount(one.sequence, minlength=len(one.members))
        position = torch.arange(len(one.sequence)) - (counts.cumsum(0) - counts)[one.sequence]
        public = lengths[pairs_of(one)].min(dim=1).values[one.sequence // 2]
        tokens = tokens * ld_weights(position, public, plan.preference.ld_alpha).to(tokens)
    return per_sequence(tokens, one).view(-1, 2)


def pair_losses(
    policy: torch.Tensor, lengths: torch.Tensor, reference: torch.Tensor | None, plan: Plan
) -> torch.Tensor:
    """The plan's objective for pairs given as (pairs, 2), one loss a pair."""
    settings = plan.preference
    lengths = lengths.to(policy.device)
    penalty = length_penalties(lengths, settings.length_limit, settings.length_penalty)
    chosen, rejected = policy.unbind(1)
    if settings.method == "simpo":
        return simpo_losses(chosen, rejected, lengths, settings.beta, settings.simpo_gamma, penalty)
    if settings.method == "orpo":
        return orpo_losses(chosen, rejected, lengths, settings.beta, penalty)
    assert reference is not None  # run() makes it for DPO
    reference_chosen, reference_rejected = reference.to(policy.device).unbind(1)
    return dpo_losses(chosen, rejected, reference_chosen, reference_rejected, settings.beta, penalty)


def all_log_probs(
    model: Any, packs: Sequence[Pack], lengths: torch.Tensor, plan: Plan, advance: Callable[[int], None]
) -> torch.Tensor:
    """log p of both answers of every pair under the model as it is now, (pairs, 2)."""
    table = torch.empty(lengths.shape)
    with shared_trunk(model, packs):
        for one in packs:
            table[pairs_of(one)] = pair_log_probs(answer_log_probs(model, one), one, lengths, plan).cpu()
            advance(1)
    return table


def reference_log_probs(
    model: Any, packs: Sequence[Pack], lengths: torch.Tensor, plan: Plan, progress: Progress
) -> torch.Tensor:
    """What DPO compares with, (pairs, 2): computed once, before the first step."""
    model.eval()
    with torch.no_grad(), progress.bar("reference", len(packs)) as advance:
        return all_log_probs(model, packs, lengths, plan, advance)


def cached(path: Path, shape: torch.Size, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What is in the file, if it is whole and of the shape; else what `compute` gives, which is written there."""
    try:
        found = load_file(path)["log_probs"] if path.is_file() else None
    except (OSError, SafetensorError, KeyError):
        found = None
    if found is None or found.shape != shape:
        found = compute()
        if processes.is_main():
            with atomic_path(path) as beside:
                save_file({"log_probs": found}, beside)
    return found


def rewards(
    model: Any, packs: Sequence[Pack], lengths: torch.Tensor, reference: torch.Tensor | None, plan: Plan
) -> dict[str, float]:
    """Implicit rewards over all pairs: accuracy (a tie counts half), margin and means.

    DPO's reward is beta * log-ratio to the reference; SimPO's and ORPO's is beta * mean log-probability a token.
    """
    table = all_log_probs(model, packs, lengths, plan, lambda n: None)
    reward = plan.preference.beta * (table / lengths if reference is None else table - reference)
    margin = reward[:, 0] - reward[:, 1]
    return {
        "reward_accuracy": float((margin > 0).float().mean() + (margin == 0).float().mean() / 2),
        "reward_margin": float(margin.mean()),
        "reward_chosen": float(reward[:, 0].mean()),
        "reward_rejected": float(reward[:, 1].mean()),
    }


def _at_start(sft: Path, plan: Plan) -> dict[str, float] | None:
    """What SFT measured of the weights it kept; the rewards of a policy that is its own reference are zero."""
    if plan.preference.method != "dpo":
        return None
    kept = json.loads((sft / "run.json").read_text(encoding="utf-8"))["metrics"]["kept"]
    zero = dict.fromkeys(("reward_margin", "reward_chosen", "reward_rejected", "kl"), 0.0)
    return {**kept, **zero, "reward_accuracy": 0.5}
