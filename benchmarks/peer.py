"""TRL's trainers over the benchmarks' rows: SFT where a row has one answer, DPO where it has two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.workloads import Row, the_tokenizer
from joshi.base.tensors import LINEAR


def trl_trainer(
    model: Any, rows: Sequence[Row], architecture: str, size: int, arguments: dict[str, Any],
    callbacks: Sequence[Any] = (),
) -> Any:  # fmt: skip
    """A trainer whose optimizer step takes all rows, `size` at a time; LoRA with r = 64 and no dropout."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    chat = the_tokenizer()
    chat.tokenizer.encode_special_tokens = False
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=chat.tokenizer, eos_token=chat.end_token, pad_token="<|endoftext|>", padding_side="right"
    )
    common = {
        "report_to": [], "max_length": None, "per_device_train_batch_size": size,
        "gradient_accumulation_steps": -(-len(rows) // size), "learning_rate": 1e-4, "save_strategy": "no",
        "logging_steps": 1, "disable_tqdm": True, **arguments,
    }  # fmt: skip
    if len(rows[0].sequences) == 2:
        kind: Any = DPOTrainer
        settings: Any = DPOConfig(**common, precompute_ref_log_probs=True)
    else:
        kind, settings = SFTTrainer, SFTConfig(**common, completion_only_loss=True)
    return kind(
        model=model, args=settings, train_dataset=Dataset.from_list([row.texts(chat) for row in rows]),
        processing_class=tokenizer, callbacks=list(callbacks),
        peft_config=LoraConfig(r=64, lora_alpha=16, target_modules=LINEAR[architecture], task_type="CAUSAL_LM"),
    )  # fmt: skip
