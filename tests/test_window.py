"""What does not fit is cut from the oldest end, said, and never the message that is answered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer
from joshi.schema import Sample
from joshi.window import fit, fit_all, turns_cut

LAST = "Steel has gone up twice and we must ask £12,450 from 14 March."
Make = Callable[..., Sample]


def plan(max_length: int) -> Plan:
    return Plan.model_validate({"sft": {"max_length": max_length}})


def talk(make: Make, turns: int) -> Sample:
    roles = ("supplier", "buyer")
    history = [
        (roles[i % 2], f"Message {i}: the pumps for line {i} are still on their way to you.") for i in range(turns)
    ]
    return make(message=LAST, history=history)


def test_the_oldest_turns_go_first_and_no_more_than_needed(make_sample: Make, tokenizer: ChatTokenizer) -> None:
    sample = talk(make_sample, 8)
    whole = fit(sample, plan(4096), tokenizer)
    assert whole.turns_cut == 0
    for max_length in range(len(whole.encoded.ids) - 1, len(whole.encoded.ids) - 120, -7):
        cut = fit(sample, plan(max_length), tokenizer)
        one_less = fit(sample, plan(4096), tokenizer).sample.context.history[cut.turns_cut :]
        assert len(cut.encoded.ids) <= max_length
        assert cut.sample.context.history == one_less
        assert cut.sample.context.history[-1].text == LAST
        before = fit(sample, plan(len(cut.encoded.ids) + 1), tokenizer)
        assert before.turns_cut == cut.turns_cut, "one token more would not have kept another turn"


def test_answer_and_system_prompt_are_whole_after_a_cut(make_sample: Make, tokenizer: ChatTokenizer) -> None:
    sample = talk(make_sample, 12)
    whole, cut = fit(sample, plan(4096), tokenizer), fit(sample, plan(340), tokenizer)
    assert cut.turns_cut > 0
    assert cut.encoded.answer_tokens == whole.encoded.answer_tokens
    assert plan(340).model.system_prompt.split("\n")[0] in tokenizer.decode(cut.encoded.ids)


def test_room_is_kept_for_a_longer_answer(make_sample: Make, tokenizer: ChatTokenizer) -> None:
    sample = talk(make_sample, 8)
    length = len(fit(sample, plan(4096), tokenizer).encoded.ids)
    assert fit(sample, plan(length), tokenizer).turns_cut == 0
    assert fit(sample, plan(length), tokenizer, room=30).turns_cut > 0


def test_a_sample_that_cannot_fit_is_named(make_sample: Make, tokenizer: ChatTokenizer) -> None:
    sample = make_sample(answer="Understood. " * 200, name="endless")
    with pytest.raises(JoshiError, match=r"sample endless/1 has \d+ tokens.*max_length is 256"):
        fit(sample, plan(256), tokenizer)


def test_an_answer_without_tokens_is_an_error(make_sample: Make, tokenizer: ChatTokenizer) -> None:
    with pytest.raises(JoshiError, match="empty answer"):
        fit(make_sample(answer="  "), plan(4096), tokenizer)


def test_every_cut_is_counted(make_sample: Make, tokenizer: ChatTokenizer) -> None:
    long, short = talk(make_sample, 12), make_sample(name="short")
    fitted = fit_all([long, short], plan(340), tokenizer)
    assert turns_cut(fitted) == {long.id: fitted[0].turns_cut}
