"""The loop: transformers' Trainer over optimizer steps that were planned ahead, packs and all.

One dataset item is one optimizer step: a list of packs. So a step always holds the plan's number of sequences,
however they pack, and a resumed run sees the same steps in the same order.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from joshi.base.gguf_file import GgufFile
from joshi.base.lora import UNFIT
from joshi.base.shard import is_sharded
from joshi.base.weights import load_model
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.progress import Progress
from joshi.training import attention, forward, processes
from joshi.training.adapter import UnfitLora
from joshi.training.onpolicy import Measure
from joshi.training.packing import Pack
from joshi.training.trunk import shared_trunk
from joshi.training.watch import Entry, Rank, Watch
from joshi.workspace import make_folder, require_space, write_json, writing

KEPT_CHECKPOINTS = 2  # one more lies beside them while it is written
EXPLODED = 100.0  # nats a token, or a pair: ten times what a model that knows nothing loses

Step = list[Pack]
LossOf = Callable[[Any, Pack, Step], torch.Tensor]


@dataclass(frozen=True)
class Loop:
    """How a run is optimised; rates as in AdamW, steps as optimizer steps."""

    learning_rate: float
    schedule: str
    warmup_steps: int
    checkpoint_every: int
    measure_every: int
    patience: int = 0  # measurements in a row that may improve nothing; 0: never stop early
    among_equals: Rank = itemgetter("step")  # which measurement to keep of those that sampled answers cannot tell apart


@dataclass(frozen=True)
class Trained:
    """What a run logged at each step, what it measured, and the measurement of the weights that were kept."""

    log: list[Entry]
    history: list[Entry]
    kept: Entry


class Steps(Dataset[Step]):
    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> Step:
        return self._steps[index]


class PackedTrainer(Trainer):  # type: ignore[misc]
    """Trainer whose step runs several packs and normalises over all of them."""

    def __init__(self, *, loss_of: LossOf, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._loss_of = loss_of

    def get_train_dataloader(self) -> DataLoader[Step]:
        # Not prepared by accelerate: every process sees every step, and takes its share of the packs.
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=lambda items: items[0])

    def training_step(self, model: Any, inputs: Step, num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        bare = self.accelerator.unwrap_model(model)  # gradients are added here once a step, not by DDP's hooks
        total = torch.zeros((), device=self.args.device)
        mine, fewer = processes.share(inputs)
        with shared_trunk(bare, mine):
            for pack in mine:
                loss = self._loss_of(bare, pack, inputs)
                if not loss.isfinite() or loss > EXPLODED:
                    self._explode(loss.item(), pack)
                self.accelerator.backward(loss)
                total += loss.detach()
            if is_sharded(bare):  # layers are gathered by all processes or none: who has fewer packs keeps step
                shortest = min(inputs, key=lambda one: one.n_tokens)
                for _ in range(fewer):
                    self.accelerator.backward(0.0 * self._loss_of(bare, shortest, inputs))
        processes.add_gradients(bare.parameters())
        return processes.total(total)

    def _explode(self, loss: float, pack: Pack) -> None:
        step = self.state.global_step + 1
        path = Path(self.args.output_dir) / f"exploded-step-{step}.json"
        write_json(
            path,
            {
                "step": step,
                "loss": str(loss),
                "members": pack.members,
                "trunk": pack.trunk.tolist(),
                "input_ids": pack.input_ids.tolist(),
                "position_ids": pack.position_ids.tolist(),
                "source": pack.source.tolist(),
                "target": pack.target.tolist(),
                "sequence": pack.sequence.tolist(),
            },
        )
        raise JoshiError(
            f"the loss became {loss} at step {step}; the batch is in {path}, the last checkpoint is kept; lower the "
            "learning rate and run again"
        )


class StopOnRequest(TrainerCallback):  # type: ignore[misc]
    """SIGTERM ends the run after the step under way, with a checkpoint."""

    def __init__(self) -> None:
        self.requested = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Raises KeyboardInterrupt at its end if the signal came: the command then exits with 130."""
        if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
            yield
            return
        before = signal.signal(signal.SIGTERM, self._request)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
        if self.requested:
            raise KeyboardInterrupt

    def _request(self, *_: Any) -> None:
        self.requested = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # A signal may reach processes in different steps; they stop in the same one.
        self.requested = bool(processes.total(torch.tensor(float(self.requested))))
        if self.requested:
            control.should_save = True
            control.should_training_stop = True


def frozen_base(file: GgufFile, plan: Plan) -> Any:
    """The base as the plan holds it in memory, with the packed forward pass.

    Raises:
        JoshiError: it is to be split over processes, and there is only one.
    """
    if plan.sft.sharded and processes.count() == 1:
        raise JoshiError(
            "joshi.toml: [sft] sharded = true splits the base over several processes, and this is the only one; start "
            "them with torchrun (docs/scale.md), or set it to false"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sft = plan.sft
    model = load_model(file, attention.NAME, sft.quantization, sft.sharded, plan.release.num_ctx, device)
    forward.install(model)
    if plan.sft.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def lora(model: Any, plan: Plan, modules: list[str], unfit: str = "") -> Any:
    """PEFT's LoRA on every linear layer; seed torch before the call. `unfit` says why it may not ship."""
    sft = plan.sft
    settings: dict[str, Any] = {
        "r": sft.rank,
        "lora_alpha": sft.alpha,
        "lora_dropout": sft.dropout,
        "target_modules": modules,
        "task_type": "CAUSAL_LM",
        "bias": "none",
    }
    return get_peft_model(model, UnfitLora(**settings, **{UNFIT: unfit}) if unfit else LoraConfig(**settings))


def train(
    model: Any,
    steps: Sequence[Step],
    loss_of: LossOf,
    measure: Measure,
    loop: Loop,
    plan: Plan,
    folder: Path,
    progress: Progress,
    label: str,
    known: Entry | None = None,
) -> Trained:
    """Run or resume; leaves the weights in the model that measured best (joshi.training.watch).

    `known` is what `measure` gives before the first step, if that is known already.
    """
    if processes.count() > 1:  # gradients are added here; DDP need not send the frozen weights around
        model._ddp_params_and_buffers_to_ignore = [name for name, p in model.named_parameters() if not p.requires_grad]
    make_folder(folder)
    copies = KEPT_CHECKPOINTS + 1 + math.ceil(len(steps) / loop.measure_every) / 3  # a measurement keeps weights alone
    require_space(folder, round(_checkpoint_bytes(model) * copies), "training with its checkpoints")
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        learning_rate=loop.learning_rate,
        lr_scheduler_type=loop.schedule,
        warmup_steps=loop.warmup_steps,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=plan.seed,
        logging_steps=1,
        save_strategy="steps",
        save_steps=loop.checkpoint_every,
        save_total_limit=KEPT_CHECKPOINTS,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        logging_nan_inf_filter=False,
        # Said outright, or Trainer takes processes on CPUs for so many runs of one, and all of them write checkpoints.
        use_cpu=not torch.cuda.is_available(),
    )
    with progress.bar(label, len(steps)) as advance:
        watch = Watch(measure, loop.measure_every, loop.patience, loop.among_equals, advance, known, folder)
        stop = StopOnRequest()
        trainer = PackedTrainer(
            model=model, args=arguments, train_dataset=Steps(steps), loss_of=loss_of, callbacks=[watch, stop]
        )
        # Bars and notes are ours; Trainer's own printer would write to standard output.
        for callback in list(trainer.callback_handler.callbacks):
            if type(callback).__name__ in ("PrinterCallback", "ProgressCallback"):
                trainer.remove_callback(callback)
        checkpoint = last_checkpoint(folder)
        if checkpoint:
            progress.say(f"going on from {Path(checkpoint).name}")
        with writing(folder), stop.listening():
            trainer.train(resume_from_checkpoint=checkpoint)
    kept = watch.restore(model)
    last = trainer.state.global_step
    if last < len(steps):
        progress.say(
            f"stopped after {last} of {len(steps)} steps: the last {loop.patience} measurements improved nothing"
        )
    if kept["step"] < last:
        progress.say(f"kept the weights of step {kept['step']:.0f}, whose answers follow the rules best")
    return Trained([entry for entry in trainer.state.log_history if "loss" in entry], watch.history, kept)


T = TypeVar("T")


def with_less_memory(attempt: Callable[[int], T], token_budget: int, progress: Progress) -> T:
    """Run `attempt(token_budget)`; out of memory, once more with half the budget, going on from its checkpoint.

    Raises:
        JoshiError: half the budget does not fit either.
    """
    try:
        return attempt(token_budget)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error) or processes.count() > 1:  # the others are waiting: all must start again
            raise
    half = token_budget // 2
    progress.say(f"out of memory with [sft] token_budget = {token_budget}; going on with {half}")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        return attempt(half)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        raise JoshiError(
            f"out of memory with [sft] token_budget = {token_budget} and {half}; lower it further, lower [sft] "
            "max_length, or use a machine with more memory; the last checkpoint is kept"
        ) from error


def _out_of_memory(error: BaseException) -> bool:
    """torch's own exception on a GPU; on a CPU it raises RuntimeError with the allocator's words."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _checkpoint_bytes(model: Any) -> int:
    """Trained weights and AdamW's two moments of each."""
    return 3 * int(sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad))


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint; one without its state file was cut off and is passed over."""
    found = [path for path in folder.glob("checkpoint-*") if _complete(path / "trainer_state.json")]
    return str(max(found, key=lambda path: int(path.name.rsplit("-", 1)[1]))) if found else None


def _complete(state: Path) -> bool:
    """Trainer writes its state last; a run killed while saving leaves none or half of it."""
    try:
        json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def every(steps: int, times: int) -> int:
    """An interval that falls about so many times into a run."""
    return max(1, math.ceil(steps / times))
