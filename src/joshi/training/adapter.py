"""Adapters on disk: PEFT's files as safetensors, with run.json naming the base and the plan that made them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file

from joshi.base.lora import UNFIT, require_fit
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.stage import StageRun, now, versions
from joshi.workspace import make_folder, write_json, writing

FILES = ("adapter_config.json", "adapter_model.safetensors", "run.json")


@dataclass
class UnfitLora(LoraConfig):  # type: ignore[misc]
    """A LoRA that may not ship: every adapter_config.json written of it, checkpoints' too, says why."""

    joshi_unfit: str = ""  # its name is base.lora.UNFIT


def save_adapter(
    model: Any, folder: Path, plan: Plan, stage: StageRun, base_sha256: str, metrics: dict[str, Any]
) -> list[Path]:
    """Write the adapter beside its place and move it there whole."""
    beside, before = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "before"))
    for leftover in (beside, before):
        shutil.rmtree(leftover, ignore_errors=True)
    make_folder(beside)
    try:
        with writing(beside):
            model.save_pretrained(str(beside), safe_serialization=True)
            (beside / "README.md").unlink(missing_ok=True)  # PEFT's empty template says nothing true
            if stage.workspace.unfit:
                weights = beside / "adapter_model.safetensors"
                save_file(load_file(weights), weights, metadata={"format": "pt", UNFIT: stage.workspace.unfit})
        write_json(
            beside / "run.json",
            {
                "plan": plan.model_dump(mode="json"),
                "plan_sha256": plan.sha256(),
                "inputs": stage.hashes,
                "base": plan.model.base,
                "base_sha256": base_sha256,
                "versions": versions(),
                "created_at": now(),
                "metrics": metrics,
            },
        )
        if folder.exists():
            folder.replace(before)
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(before, ignore_errors=True)
    return [folder / name for name in FILES]


def load_adapter(model: Any, folder: Path, trainable: bool) -> Any:
    """Put a saved adapter onto its base.

    Raises:
        JoshiError: the folder holds no adapter, one that may not ship, or one of another shape.
    """
    if not (folder / "adapter_model.safetensors").is_file():
        raise JoshiError(f"{folder} holds no adapter; run 'joshi train sft' first")
    require_fit(folder)
    try:
        return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (RuntimeError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise JoshiError(f"{folder} does not fit this base model: {str(error).splitlines()[0]}") from error
