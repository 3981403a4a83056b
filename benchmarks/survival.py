"""What each form of export keeps of a fine-tune: shares, divergence from the unquantised model, rules, on a real run.

    joshi --workspace demo run
    python -m benchmarks.survival demo

The workspace's adapter is written in every form. KL is the mean over the tokens of held-out answers of
KL(unquantised || written), in nats, of the weights alone: both are run in fp32. Answers are sampled as in production,
through llama.cpp, and judged by the plan's rubric.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from joshi import base, datasets, export
from joshi.base.find import find_base
from joshi.base.ggml import quantize
from joshi.base.gguf_file import GgufFile, Tensor
from joshi.base.lora import Adapter, write_adapter
from joshi.base.weights import load_model
from joshi.evaluation.measure import summarise
from joshi.export.calibrate import Calibration
from joshi.export.merge import merge
from joshi.export.rounding import Sight
from joshi.generate import Request, Sampling, generate, seed_of
from joshi.llama import Adapted, Weights
from joshi.plan_file import load_plan
from joshi.progress import SILENT
from joshi.prompt import Encoded, messages_for
from joshi.rubric import Rubric
from joshi.surrogates import fill
from joshi.training.adapter import load_adapter
from joshi.window import fit_all
from joshi.workspace import Workspace

WHATEVER = -1e9  # as the least share: what llama.cpp would write, however little it keeps


class ImatrixSight(Sight):
    """llama.cpp's way to use activations: they weigh the search for scales; weights go to their nearest levels."""

    def gain(self, base: Any, delta: Any, kind: Type) -> float:
        return 1.0

    def rounded(self, meant: NDArray[np.float32], kind: Type) -> NDArray[np.uint8]:
        return quantize(meant, kind, np.concatenate([one.h.diagonal().numpy() for one in self.windows]))


class ImatrixCalibration(Calibration):
    def sight(self, tensor: Tensor) -> Sight:
        return ImatrixSight(super().sight(tensor).windows)


# Name, target type, what looks at activations, least share.
FORMS: list[tuple[str, str, type[Calibration] | None, float]] = [
    ("merged F16", "F16", None, WHATEVER),
    ("Q8_0", "Q8_0", None, WHATEVER),
    ("Q4_K_M as llama-quantize", "Q4_K_M", None, WHATEVER),
    ("Q4_K_M with imatrix", "Q4_K_M", ImatrixCalibration, WHATEVER),
    ("Q4_K_M, finer where needed (default)", "Q4_K_M", None, 0.9),
    ("Q4_K_M calibrated", "Q4_K_M", Calibration, 0.9),
    ("Q4_1, the base's own grid, nearest", "base", None, WHATEVER),
    ("Q4_1 with imatrix", "base", ImatrixCalibration, WHATEVER),
    ("Q4_1 calibrated", "base", Calibration, 0.9),
]


@torch.no_grad()
def answer_distributions(model: Any, texts: Sequence[Encoded]) -> list[torch.Tensor]:
    """Of each answer, the distribution before each of its tokens: (tokens, vocabulary), half precision."""
    found = []
    for text in texts:
        hidden = model.model(torch.tensor([text.ids])).last_hidden_state[0]
        before = [i - 1 for i, trained in enumerate(text.trained) if trained]
        found.append(model.lm_head(hidden[before]).log_softmax(-1).half())
    return found


def divergence(reference: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """Mean KL(reference || other) a token, nats."""
    each = [(p.float().exp() * (p.float() - q.float())).sum(-1) for p, q in zip(reference, other, strict=True)]
    return float(torch.cat(each).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path, help="a workspace whose run is complete")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON alone")
    arguments = parser.parse_args()
    workspace = Workspace(arguments.workspace)
    plan = load_plan(workspace.plan_file).plan
    tokenizer = base.tokenizer(workspace)
    file, folder = find_base(plan.model.base, workspace.root), export.final_adapter(plan, workspace)
    adapter = Adapter.load(folder)
    split = datasets.load_split(plan, workspace)
    texts = [one.encoded for one in fit_all(split.held_out, plan, tokenizer)]
    samples = [fill(sample, plan.seed) for sample in split.held_out]
    requests = [
        Request(sample.id, tuple(messages_for(sample, plan.model.system_prompt)), seed_of(plan, sample.id))
        for sample in samples
    ]
    calibration_texts = export.calibration_texts(plan, workspace)
    tuned = load_adapter(load_model(file), folder, trainable=False).merge_and_unload().eval()
    reference = answer_distributions(tuned, texts)
    untuned = divergence(reference, answer_distributions(load_model(file).eval(), texts))
    del tuned
    print(f"{len(samples)} held-out answers; KL of the base without the fine-tune: {untuned:.3f}", file=sys.stderr)
    rows: list[dict[str, Any]] = []

    def judged(model: Weights) -> dict[str, Any]:
        sampling = Sampling(plan.release.temperature, plan.release.top_p, plan.evaluation.max_tokens)
        answers = generate(model, requests, sampling, plan, tokenizer, workspace.cache, SILENT, "")
        rubric = Rubric(plan, tokenizer)
        found = [rubric.check(a.answer, s) for a, s in zip(answers, samples, strict=True)]
        figures = summarise(answers, found, [s.ideal_answer for s in samples])
        return {"all_rules": figures["all_rules"], "p90_tokens": figures["tokens"]["p90"]}

    with TemporaryDirectory() as name:
        path = Path(name) / "model.gguf"
        for form, quantization, calibrate, least in FORMS:
            calibration = calibrate(file, adapter, calibration_texts) if calibrate else None
            kept = merge(file, adapter, quantization, plan.model.name, path, lambda n: None, calibration, least)
            del calibration
            divergent = divergence(reference, answer_distributions(load_model(GgufFile(path)).eval(), texts))
            row = {"form": form, "mb": path.stat().st_size / 1e6, "kept_weights_min": min(k.slope for k in kept),
                   "kept_outputs_min": min((k.outputs for k in kept if k.outputs is not None), default=None),
                   "kl": divergent, **judged(path)}  # fmt: skip
            rows.append(row)
            print(cells(row), file=sys.stderr, flush=True)
        beside = Path(name) / "adapter.gguf"
        size = file.path.stat().st_size + write_adapter(file, adapter, beside)
        halves = load_adapter(load_model(file), folder, trainable=False)  # the adapter's GGUF is in fp16
        for parameter_name, parameter in halves.named_parameters():
            if "lora_" in parameter_name:
                parameter.data = parameter.half().float()
        divergent = divergence(reference, answer_distributions(halves.merge_and_unload().eval(), texts))
        rows.append({"form": "adapter beside the base", "mb": size / 1e6, "kept_weights_min": 1.0,
                     "kept_outputs_min": None, "kl": divergent, **judged(Adapted(file.path, beside))})  # fmt: skip
    if arguments.json:
        print(json.dumps({"kl_untuned": untuned, "rows": rows}, indent=1))
        return
    print("| Form | MB | least kept, weights | least kept, outputs | KL | every rule | P90 |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(cells(row))


def cells(row: dict[str, Any]) -> str:
    outputs = "" if row["kept_outputs_min"] is None else f"{row['kept_outputs_min']:.2f}"
    rate = row["all_rules"]
    return (
        f"| {row['form']} | {row['mb']:.0f} | {row['kept_weights_min']:.2f} | {outputs} | {row['kl']:.4f} | "
        f"{rate['rate']:.0%} ({rate['low']:.0%}–{rate['high']:.0%}) | {row['p90_tokens']:.0f} |"
    )


if __name__ == "__main__":
    main()
