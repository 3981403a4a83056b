"""What the model says while it is trained: answers to the development prompts, through llama.cpp as production asks.

The adapter as it is now is put beside the untouched base, so what is sampled is what is trained. Losses do not tell
when answers follow the rules (LIMA, Zhou et al. 2023, found perplexity and quality to part ways); these figures do.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict

from joshi.base.gguf_file import GgufFile
from joshi.base.lora import Adapter, write_adapter
from joshi.generate import Request, Sampling, generate, require_room, seed_of
from joshi.llama import Adapted
from joshi.plan import Plan
from joshi.progress import Progress
from joshi.prompt import ChatTokenizer, Encoded, messages_for
from joshi.rubric import RULES, Rubric, failed, percentile
from joshi.schema import Completion, Message
from joshi.training import processes
from joshi.training.forward import answer_log_probs
from joshi.training.packing import Pack, pack
from joshi.training.trunk import shared_trunk
from joshi.window import Fitted

KL_ANSWERS = 8  # two forward passes over each; a rough figure of how far the model has gone is enough

Measure = Callable[[Any], dict[str, float]]
Weights = dict[str, torch.Tensor]


def answers_measure(
    file: GgufFile,
    development: Sequence[Fitted],
    reference: Weights,
    plan: Plan,
    tokenizer: ChatTokenizer,
    folder: Path,
    token_budget: int,
    progress: Progress,
) -> Measure:
    """A function that samples answers of a model and measures them; of the base itself it measures nothing.

    It gives `answers`, their number, `pass_rate`, the share that passes every rule, `rules_passed`, the mean share of
    rules that an answer passes, `answer_tokens_mean` and `answer_tokens_p90`, and `kl`, an estimate of how far the
    model has gone from `reference`, in nats an answer. `folder` takes the adapter and the cache of answers.

    Raises:
        JoshiError: a prompt with room for its answer does not fit the context window.
    """
    rubric = Rubric(plan, tokenizer)
    most = min(plan.sft.watch_answers, len(development))
    asked = sorted(random.Random(plan.seed).sample(range(len(development)), most))
    samples = [development[i].sample for i in asked]
    requests = [Request(s.id, tuple(messages_for(s, plan.model.system_prompt)), seed_of(plan, s.id)) for s in samples]
    sampling = Sampling(plan.release.temperature, plan.release.top_p, plan.evaluation.max_tokens)
    require_room(requests, sampling, plan.release.num_ctx, tokenizer)  # told before hours of training

    def sample(model: Any) -> list[Completion]:
        path = folder / "now.gguf"
        write_adapter(file, adapter_of(model), path)
        beside = Adapted(file.path, path)
        return generate(beside, requests, sampling, plan, tokenizer, folder, progress, "development answers")

    def measure(model: Any) -> dict[str, float]:
        if not requests or is_base(model):
            return {}
        answers = processes.from_main(lambda: sample(model))
        broken = [failed(rubric.check(a.answer, s)) for a, s in zip(answers, samples, strict=True)]
        tokens = [answer.tokens for answer in answers]
        few = zip(requests[:KL_ANSWERS], answers[:KL_ANSWERS], strict=True)
        sampled = [sampled_tokens(r.messages, a, tokenizer) for r, a in few]
        return {
            "answers": float(len(answers)),
            "pass_rate": sum(not b for b in broken) / len(answers),
            "rules_passed": 1 - sum(map(len, broken)) / len(broken) / len(RULES),
            "answer_tokens_mean": sum(tokens) / len(tokens),
            "answer_tokens_p90": percentile(tokens, 0.9),
            "kl": divergence(model, reference, pack([[one] for one in sampled], token_budget, plan.sft.shares_trunk)),
        }

    return measure


def sampled_tokens(messages: Sequence[Message], answer: Completion, tokenizer: ChatTokenizer) -> Encoded:
    """A sampled answer after its prompt; one that was cut off has no end of turn."""
    whole = tokenizer.encode(messages, answer.answer)
    cut = len(whole.ids) - (answer.finish == "length" and whole.answer_tokens > 1)
    return Encoded(whole.ids[:cut], whole.trained[:cut])


def divergence(model: Any, reference: Weights, packs: Sequence[Pack]) -> float:
    """KL(model || reference) in nats an answer, estimated on sampled answers: the mean over answers of the sum over
    tokens of r - 1 - log r, r = p_reference / p_model (Schulman 2020, k3).

    The estimator is unbiased for answers sampled at temperature 1; production's lower one favours likely tokens, so
    this is how far the model has gone where it walks, not the divergence of the untempered models. `packs` hold one
    answer a sequence.
    """

    def log_probs() -> torch.Tensor:
        with torch.no_grad(), shared_trunk(model, packs):
            return torch.cat([answer_log_probs(model, one).double() for one in packs])

    ours = log_probs()
    with weights_exchanged(model, reference):
        ratio = log_probs() - ours
    return float((ratio.exp() - 1 - ratio).sum()) / sum(len(one.members) for one in packs)


def trained_weights(model: Any) -> Weights:
    """A copy of the LoRA weights, by parameter name."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def put_weights(model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[name])


@contextlib.contextmanager
def weights_exchanged(model: Any, weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """The model with other LoRA weights, inside the block."""
    kept = trained_weights(model)
    put_weights(model, weights)
    try:
        yield
    finally:
        put_weights(model, kept)


def is_base(model: Any) -> bool:
    """Whether the adapter adds nothing yet: PEFT starts B at zero."""
    return not any(bool(p.any()) for name, p in model.named_parameters() if ".lora_B." in name)


def adapter_of(model: Any) -> Adapter:
    """The adapter of a PEFT model as it is now."""
    config = model.peft_config["default"]
    weights = {name: p.detach().float().cpu().numpy() for name, p in get_peft_model_state_dict(model).items()}
    return Adapter.of(weights, config.lora_alpha / config.r)
