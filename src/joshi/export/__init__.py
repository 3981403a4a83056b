"""Stage 8: merge, quantise, Modelfile."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from joshi import base, datasets
from joshi.base.find import find_base
from joshi.base.gguf_file import CHUNK_WEIGHTS, GgufFile
from joshi.base.lora import Adapter, require_base, write_adapter
from joshi.errors import JoshiError
from joshi.export.merge import merge, overall, size_of, wanted_types
from joshi.export.modelfile import modelfile, serving
from joshi.llama import Adapted, Weights
from joshi.plan import SAMPLING, Plan
from joshi.progress import SILENT, Progress
from joshi.stage import Manifest, Stage, StageRun
from joshi.window import fit
from joshi.workspace import Workspace, clear_partial, sha256_file, write_text

PROCESS_BYTES = 120_000_000  # Python, numpy, llama.cpp's library, the vocabulary: SmolLM2's export took 0.22 GB in all
CHUNK_ARRAYS = 6  # of fp32 at one time: read, delta, meant, written, error, and what numpy makes between
ADAPTER = "-adapter"  # what the name of a LoRA's file ends in
SAME_MODEL = 0.3  # root mean square of what 4 bits change in a tensor, relative to it, is 0.05 to 0.1


def memory_bytes(file: GgufFile, plan: Plan) -> int:
    """About what the export takes: a chunk a thread, and one tensor's factors."""
    sides = (sum(tensor.shape) for tensor in file.tensors if tensor.name.startswith("blk."))
    n_lora = plan.sft.rank * max(sides, default=0)
    chunks = (os.cpu_count() or 1) * CHUNK_ARRAYS * 4 * CHUNK_WEIGHTS
    if plan.export.rounding == "calibrated":
        from joshi.export.calibrate import memory_bytes as looking

        chunks += looking(file, plan.export.calibration_tokens)
    return PROCESS_BYTES + chunks + 2 * 4 * n_lora


def size_bytes(file: GgufFile, plan: Plan) -> int:
    """About what the exported file takes, if no tensor needs a finer type."""
    linear = {tensor.name for tensor in file.tensors if tensor.name.startswith("blk.") and len(tensor.shape) == 2}
    return size_of(file, wanted_types(file, plan.export.quantization, linear))


def final_adapter(plan: Plan, workspace: Workspace) -> Path:
    """The adapter that ships: the preference one, or SFT's when the plan trains no preferences."""
    return workspace.artifacts(plan.model.name) / ("sft" if plan.preference.method == "none" else "dpo")


def sft_gguf(workspace: Workspace) -> Path:
    """The SFT model in the shipped quantisation; sampled for rejected answers and compared in the report."""
    return workspace.private / "export" / "sft.gguf"


def _adapter_inputs(folder: Path, plan: Plan, workspace: Workspace) -> list[Path]:
    inputs = [folder / "adapter_model.safetensors", folder / "adapter_config.json",
              find_base(plan.model.base, workspace.root).path]  # fmt: skip
    if plan.export.original:
        inputs.append(_original(plan.export.original, workspace).path)
    if plan.export.rounding == "calibrated":
        inputs += datasets.current_files(plan, workspace)
    return inputs


SFT_STAGE = Stage(
    "export sft",
    ("model", "export"),
    lambda plan, workspace: _adapter_inputs(workspace.artifacts(plan.model.name) / "sft", plan, workspace),
)
STAGE = Stage(
    "export",
    ("model", "export", *SAMPLING),
    lambda plan, workspace: _adapter_inputs(final_adapter(plan, workspace), plan, workspace),
)


ADAPTER_STAGE = Stage(
    "export adapter",
    ("model", *SAMPLING),
    lambda plan, workspace: _adapter_inputs(final_adapter(plan, workspace), plan, workspace),
)


def adapter_gguf(plan: Plan, workspace: Workspace) -> Path:
    """The LoRA alone, as `run_adapter` writes it."""
    return workspace.model(plan.model.name).with_name(f"{plan.model.name}{ADAPTER}.gguf")


def stage_of(plan: Plan) -> Stage:
    """The stage that makes what the plan releases."""
    return STAGE if plan.release.artifact == "gguf" else ADAPTER_STAGE


def shipped_file(plan: Plan, workspace: Workspace) -> Path:
    """The file that is judged and released: the merged model, or the LoRA alone."""
    return workspace.model(plan.model.name) if plan.release.artifact == "gguf" else adapter_gguf(plan, workspace)


def shipped(plan: Plan, workspace: Workspace) -> Weights:
    """What is judged and released, as llama.cpp runs it."""
    file = shipped_file(plan, workspace)
    return file if plan.release.artifact == "gguf" else Adapted(find_base(plan.model.base, workspace.root).path, file)


def run_adapter(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Write models/NAME-adapter.gguf, the LoRA alone, which llama.cpp puts beside the untouched base, and a Modelfile.

    Nothing is merged and nothing quantised again, so this form holds the fine-tune best.

    Raises:
        JoshiError: the adapter was trained on another base.
    """
    stage = ADAPTER_STAGE.begin(plan, workspace)
    file = find_base(plan.model.base, workspace.root)
    folder = final_adapter(plan, workspace)
    require_base(folder, stage.hash_of(file.path))
    adapter = Adapter.load(folder)
    path = adapter_gguf(plan, workspace)
    named = plan.model.base.removeprefix("ollama:") if plan.model.base.startswith("ollama:") else str(file.path)
    text = modelfile(serving(plan, base.tokenizer(workspace)), named, f"./{path.name}")
    n_bytes = write_adapter(file, adapter, path)
    modelfile_path = path.with_name("Modelfile-adapter")
    write_text(modelfile_path, text)
    metrics = {"bytes": n_bytes, "sha256": sha256_file(path), "tensors_changed": adapter.touched}
    return stage.finish([path, modelfile_path], metrics)


def run_sft(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Export the model after SFT, for sampling and comparison only."""
    stage = SFT_STAGE.begin(plan, workspace)
    path = sft_gguf(workspace)
    metrics = _export(stage, workspace.artifacts(plan.model.name) / "sft", path, progress)
    return stage.finish([path], metrics)


def run(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Manifest:
    """Write models/NAME.gguf and models/Modelfile.

    Raises:
        GateRefused: quantisation rounds the fine-tune away.
    """
    stage = STAGE.begin(plan, workspace)
    path = workspace.model(plan.model.name)
    text = modelfile(serving(plan, base.tokenizer(workspace)), f"./{path.name}")
    metrics = _export(stage, final_adapter(plan, workspace), path, progress)
    modelfile_path = path.with_name("Modelfile")
    write_text(modelfile_path, text)
    return stage.finish([path, modelfile_path], metrics)


def _export(stage: StageRun, adapter: Path, path: Path, progress: Progress) -> dict[str, object]:
    plan = stage.plan
    base_path = find_base(plan.model.base, stage.workspace.root).path
    file, lora = _parts(adapter, plan, stage.workspace, stage.hash_of(base_path))
    quantization = plan.export.quantization
    calibration = None
    if plan.export.rounding == "calibrated":
        from joshi.export.calibrate import Calibration

        calibration = Calibration(file, lora, calibration_texts(plan, stage.workspace), plan.release.num_ctx)
    clear_partial(path)
    with progress.bar(f"merging, {quantization}", len(file.tensors)) as advance:
        kept = merge(file, lora, quantization, plan.model.name, path, advance, calibration)
    share = overall(kept)
    raised = [one for one in kept if one.raised]
    if raised:
        progress.say(
            f"{len(raised)} of {len(kept)} changed tensors are written finer than {quantization}, or quantisation "
            "would round the fine-tune away"
        )
    return {
        "quantization": quantization,
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
        "kept_delta": round(share, 4),
        "kept_delta_min": round(min(one.share for one in kept), 4),
        "kept_weights_min": round(min(one.slope for one in kept), 4),
        "delta_noise": round(sum(one.noise for one in kept) / len(kept), 4),
        "tensors_changed": len(kept),
        "tensors_raised": len(raised),
        "tensors_calibrated": sum(one.outputs is not None for one in kept),
    }


def _parts(adapter: Path, plan: Plan, workspace: Workspace, base_sha256: str) -> tuple[GgufFile, Adapter]:
    """The weights to add the fine-tune to, and the fine-tune."""
    file = find_base(plan.model.base, workspace.root)
    require_base(adapter, base_sha256)
    if plan.export.original:
        original = _original(plan.export.original, workspace)
        require_same_model(file, original)
        file = original
    return file, Adapter.load(adapter)


@contextlib.contextmanager
def unquantised(plan: Plan, workspace: Workspace, progress: Progress = SILENT) -> Iterator[Path]:
    """The merged model in F16, for comparison with what ships; deleted when the block ends.

    Raises:
        JoshiError: the adapter does not fit the base, or the disk is full.
    """
    base_sha256 = sha256_file(find_base(plan.model.base, workspace.root).path)
    file, lora = _parts(final_adapter(plan, workspace), plan, workspace, base_sha256)
    path = workspace.private / "export" / "unquantised.gguf"
    clear_partial(path)
    try:
        with progress.bar("merging, F16", len(file.tensors)) as advance:
            merge(file, lora, "F16", plan.model.name, path, advance)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _original(line: str, workspace: Workspace) -> GgufFile:
    return find_base(line, workspace.root, key="[export] original")


def calibration_texts(plan: Plan, workspace: Workspace) -> list[Sequence[int]]:
    """Training samples, prompt and answer as token ids, drawn by the plan's seed until they have tokens enough."""
    tokenizer = base.tokenizer(workspace)
    samples = list(datasets.load_split(plan, workspace).training)
    random.Random(plan.seed).shuffle(samples)
    texts: list[Sequence[int]] = []
    for sample in samples:
        if sum(map(len, texts)) >= plan.export.calibration_tokens:
            break
        texts.append(fit(sample, plan, tokenizer).encoded.ids)
    return texts


def require_same_model(file: GgufFile, original: GgufFile) -> None:
    """Refuse an original whose shapes, tokens or weights are not those that the base was quantised from.

    Raises:
        JoshiError: they are not.
    """

    def wrong(what: str) -> JoshiError:
        return JoshiError(
            f"joshi.toml: [export] original: {original.path} is not the model that {file.path} was quantised from: "
            f"{what}; name its F16 or BF16 checkpoint, or remove the key"
        )

    mine, theirs = ({tensor.name: tensor for tensor in one.tensors} for one in (file, original))
    if file.architecture != original.architecture or file.need("tokenizer.ggml.tokens") != original.need(
        "tokenizer.ggml.tokens"
    ):
        raise wrong("it has another architecture or other tokens")
    for name, tensor in mine.items():
        if name not in theirs or theirs[name].shape != tensor.shape:
            raise wrong(f"{name} is missing or has another shape")
    for name in ("blk.0.attn_output.weight", "blk.0.ffn_down.weight"):
        if name in mine:
            some = slice(0, 64)
            values = original.weights(theirs[name], some)
            difference = np.linalg.norm(file.weights(mine[name], some) - values) / max(
                float(np.linalg.norm(values)), 1e-9
            )
            if difference > SAME_MODEL:
                raise wrong(f"{name} differs by {difference:.0%}")
