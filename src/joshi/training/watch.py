"""Measuring while training: the history of figures, the weights that answer best, and when to stop early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from joshi.errors import JoshiError
from joshi.training import processes
from joshi.training.onpolicy import Measure, put_weights, trained_weights
from joshi.workspace import atomic_path

Entry = dict[str, float]
HIGHER = {"pass_rate": 1, "rules_passed": 1, "heldout_loss": -1}  # figures that say whether training still helps


class Watch(TrainerCallback):  # type: ignore[misc]
    """Moves the bar, measures at the start, now and then, and at the end, and keeps the best weights in a file."""

    def __init__(
        self, measure: Measure, every: int, patience: int, advance: Callable[[int], None], known: Entry | None,
        folder: Path,
    ) -> None:  # fmt: skip
        self._measure = measure
        self._known = known  # what was measured before the first step, where an earlier stage did that
        self._every = every
        self._patience = patience
        self._advance = advance
        self._best = folder / "best.safetensors"
        self.history: list[Entry] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._advance(state.global_step)
        if state.global_step == 0:
            self._keep(self._known or self._measured(kwargs["model"]), state)
        else:  # resumed: what was measured before is in the state
            self.history = [entry for entry in state.log_history if "heldout_loss" in entry]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._advance(1)
        if state.global_step % self._every and state.global_step != state.max_steps:
            return
        self._keep(self._measured(kwargs["model"]), state)
        if best(self.history) is self.history[-1] and processes.is_main():
            weights = {name: p.cpu().contiguous() for name, p in trained_weights(kwargs["model"]).items()}
            with atomic_path(self._best) as beside:
                save_file(weights, beside, metadata={"step": str(state.global_step)})
        if self._patience and fruitless(self.history) >= self._patience:
            control.should_training_stop = True

    def restore(self, model: Any) -> Entry:
        """Put the best weights back, if they are not the last; returns what was measured of what the model now is.

        Raises:
            JoshiError: the best weights are not in their file.
        """
        found = best(self.history)
        if found is None or found is self.history[-1]:
            return self.history[-1]
        if processes.is_main():  # the adapter is saved from there
            try:
                with safe_open(self._best, framework="pt") as file:
                    step = int(file.metadata()["step"])
            except (OSError, SafetensorError) as error:
                raise JoshiError(f"{self._best} cannot be read ({error}); delete its folder and train again") from error
            if step != found["step"]:
                raise JoshiError(f"{self._best} is of another run; delete its folder and train again")
            put_weights(model, load_file(self._best))
        return found

    def _measured(self, model: Any) -> Entry:
        was_training = model.training
        model.eval()
        with torch.no_grad():
            measured = self._measure(model)
        model.train(was_training)
        return processes.from_main(lambda: measured)  # so that all decide alike

    def _keep(self, measured: Entry, state: Any) -> None:
        entry = {**measured, "step": float(state.global_step)}
        self.history.append(entry)
        state.log_history.append(dict(entry))


def best(history: Sequence[Entry]) -> Entry | None:
    """The measurement whose answers pass every rule most often, then most rules, then the later one.

    The start is no candidate: it is what was there before. None where no answers were sampled.
    """
    sampled = [entry for entry in history if entry["step"] > 0 and "pass_rate" in entry]
    return max(sampled, key=lambda entry: (entry["pass_rate"], entry["rules_passed"], entry["step"]), default=None)


def fruitless(history: Sequence[Entry]) -> int:
    """How many measurements in a row, up to the last, were better than all before them in nothing."""
    record: Entry = {}
    streak = 0
    for entry in history:
        values = {name: sign * entry[name] for name, sign in HIGHER.items() if name in entry}
        better = [name for name, value in values.items() if name not in record or value > record[name]]
        record |= {name: values[name] for name in better}
        streak = 0 if better else streak + 1
    return streak
