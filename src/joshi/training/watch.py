"""Measuring while training: the history of figures, the weights that answer best, and when to stop early."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from joshi.errors import JoshiError
from joshi.training import processes
from joshi.training.onpolicy import Measure, put_weights, trained_weights
from joshi.workspace import atomic_path

Entry = dict[str, float]
Rank = Callable[[Entry], float]
HIGHER = {"pass_rate": 1, "rules_passed": 1, "heldout_loss": -1}  # figures that say whether training still helps


class Watch(TrainerCallback):  # type: ignore[misc]
    """Moves the bar, measures at the start, now and then, and at the end, and keeps the weights of each measurement."""

    def __init__(
        self, measure: Measure, every: int, patience: int, among_equals: Rank, advance: Callable[[int], None],
        known: Entry | None, folder: Path,
    ) -> None:  # fmt: skip
        self._measure = measure
        self._known = known  # what was measured before the first step, where an earlier stage did that
        self._every = every
        self._patience = patience
        self._among_equals = among_equals
        self._advance = advance
        self._folder = folder
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
        if processes.is_main() and state.global_step != state.max_steps:
            weights = {name: p.cpu().contiguous() for name, p in trained_weights(kwargs["model"]).items()}
            with atomic_path(self._weights(state.global_step)) as beside:
                save_file(weights, beside)
        if self._patience and fruitless(self.history) >= self._patience:
            control.should_training_stop = True

    def restore(self, model: Any) -> Entry:
        """Put the best weights back, if they are not the last; returns what was measured of what the model now is.

        Raises:
            JoshiError: their file cannot be read.
        """
        found = best(self.history, self._among_equals)
        if found is None or found is self.history[-1]:
            return self.history[-1]
        path = self._weights(int(found["step"]))
        if processes.is_main():  # the adapter is saved from there
            try:
                put_weights(model, load_file(path))
            except (OSError, SafetensorError, KeyError) as error:
                raise JoshiError(f"{path} cannot be read ({error}); delete its folder and train again") from error
        return found

    def _weights(self, step: int) -> Path:
        return self._folder / f"measured-{step}.safetensors"

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


def best(history: Sequence[Entry], among_equals: Rank) -> Entry | None:
    """The measurement to keep, after the one-standard-error rule (Breiman et al. 1984, 3.4.3).

    Of those whose share of answers that pass every rule lies within one standard error of a difference from the
    highest, which so few answers cannot tell apart, the one that `among_equals` ranks highest, and of equals the
    later. The start is no candidate: it is what was there before. None where no answers were sampled.
    """
    sampled = [entry for entry in history if entry["step"] > 0 and "pass_rate" in entry]
    if not sampled:
        return None
    highest = max(sampled, key=lambda entry: entry["pass_rate"])
    n = highest["answers"]
    share = (highest["pass_rate"] * n + 0.5) / (n + 1)  # so that none and all of n have an error too
    least = highest["pass_rate"] - math.sqrt(2 * share * (1 - share) / n)
    near = [entry for entry in sampled if entry["pass_rate"] >= least]
    return max(near, key=lambda entry: (among_equals(entry), entry["step"]))


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
