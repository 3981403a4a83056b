"""Samples that fit the plan's window: oldest history is cut first, and every cut is listed.

The system prompt, the supplier's last message, this turn's state and the answer are never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer, Encoded, messages_for
from joshi.schema import Sample
from joshi.surrogates import fill


@dataclass(frozen=True)
class Fitted:
    """A sample with its surrogates filled in, its tokens, and how many of its oldest turns were left out."""

    sample: Sample
    encoded: Encoded
    turns_cut: int


def fit(sample: Sample, plan: Plan, tokenizer: ChatTokenizer, room: int = 0) -> Fitted:
    """Render a sample within `[sft] max_length` tokens; `room` keeps so many free for a longer answer.

    Raises:
        JoshiError: it does not fit even with the supplier's last message alone, or its answer has no tokens.
    """
    filled = fill(sample, plan.seed)
    for turns_cut in range(max(len(filled.context.history), 1)):
        kept = _without_oldest(filled, turns_cut)
        encoded = tokenizer.encode(messages_for(kept, plan.model.system_prompt), kept.ideal_answer)
        if encoded.answer_tokens < 2:  # the end of turn alone
            raise JoshiError(f"sample {sample.id} has an empty answer, so nothing to train; reject it and freeze again")
        if len(encoded.ids) + room <= plan.sft.max_length:
            return Fitted(kept, encoded, turns_cut)
    beside = f" beside {room} kept free for an answer" if room else ""
    raise JoshiError(
        f"sample {sample.id} has {len(encoded.ids)} tokens{beside} with the supplier's last message alone, "
        f"[sft] max_length is {plan.sft.max_length}; raise it, or shorten the system prompt, the notes or the answer"
    )


def fit_all(samples: Sequence[Sample], plan: Plan, tokenizer: ChatTokenizer) -> list[Fitted]:
    """Every sample, in order; none is dropped."""
    return [fit(sample, plan, tokenizer) for sample in samples]


def turns_cut(fitted: Sequence[Fitted]) -> dict[str, int]:
    """Sample ids with the number of turns left out, of those that were cut."""
    return {one.sample.id: one.turns_cut for one in fitted if one.turns_cut}


def _without_oldest(sample: Sample, turns: int) -> Sample:
    if not turns:
        return sample
    context = sample.context.model_copy(update={"history": sample.context.history[turns:]})
    return sample.model_copy(update={"context": context})
