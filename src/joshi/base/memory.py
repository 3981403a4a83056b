"""What training a base will take in memory, from the shapes in its header, before anything is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass

from joshi.base.gguf_file import GgufFile
from joshi.errors import JoshiError
from joshi.plan import Plan

NF4_BYTES = 4.127 / 8  # a weight with its share of both levels of scales (QLoRA, Dettmers et al. 2023, section 3)
LOGIT_POSITIONS = 512  # that exist at one time: 0.1 GB of fp32 with 49,152 tokens, 0.2 GB with 100,352
PROCESS_BYTES = 1_000_000_000  # Python, torch and what the allocator keeps; measured about 1 GB
UNFUSED = 4.8  # times what fused layers keep; measured at SmolLM2's size, 3.6 against 0.75 MB a token
_LINEAR = re.compile(r"blk\.\d+\.(attn_(q|k|v|qkv|output)|ffn_(gate|up|down))\.weight")


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that training holds at its peak, by what holds them."""

    weights: int  # the frozen base, as the plan holds it
    merged: int  # the matrices with the update merged in, which the fused layers multiply by
    lora: int  # LoRA weights, their gradients and AdamW's two moments, fp32
    activations: int  # of the plan's token budget
    logits: int
    process: int = PROCESS_BYTES

    @property
    def total(self) -> int:
        return self.weights + self.merged + self.lora + self.activations + self.logits + self.process


def training_memory(file: GgufFile, plan: Plan, gpu: bool) -> TrainingMemory:
    """An estimate for one process: on a GPU activations are bf16 and layers are not fused.

    Measured on a CPU to about a seventh, and on a GPU, once, to a twentieth: NF4 with activations made again.

    Raises:
        JoshiError: the file lacks what the estimate needs, or has no layers.
    """
    sft = plan.sft
    architecture = file.architecture
    linear = [t.shape for t in file.tensors if _LINEAR.fullmatch(t.name)]  # (outputs, inputs)
    n_linear = sum(outputs * inputs for outputs, inputs in linear)
    n_lora = sft.rank * sum(outputs + inputs for outputs, inputs in linear)
    n_layers = int(file.need(f"{architecture}.block_count"))
    hidden = int(file.need(f"{architecture}.embedding_length"))
    inner = int(file.need(f"{architecture}.feed_forward_length"))
    heads = int(file.need(f"{architecture}.attention.head_count"))
    if not linear or min(n_layers, heads) < 1:
        raise JoshiError(f"{file.path} has no decoder layers; choose another base")
    key_heads = int(file.value(f"{architecture}.attention.head_count_kv", heads))
    fused = not gpu and sft.quantization == "none" and sft.dropout == 0 and not sft.sharded
    # Of a token in one layer: both inputs, queries, keys and values, attention's output, gate and up,
    # and the inner products of LoRA (joshi.training.fused).
    size = hidden // heads
    numbers = 2 * hidden + (2 * heads + 2 * key_heads) * size + 2 * inner + sft.rank * len(linear) // n_layers
    layer = numbers * (4 if fused else 2 * UNFUSED if gpu else 4 * UNFUSED)
    a_token = layer + n_layers * hidden * (2 if gpu else 4) if sft.recompute else layer * n_layers
    each = 2 if gpu else 4
    n_weights = n_linear * (NF4_BYTES if sft.quantization == "nf4" else each) + each * (file.parameters - n_linear)
    return TrainingMemory(
        weights=round(n_weights),
        merged=4 * n_linear if fused else 0,
        lora=16 * n_lora,
        activations=round(a_token * sft.token_budget),
        logits=2 * 4 * LOGIT_POSITIONS * len(file.need("tokenizer.ggml.tokens")),
    )
