"""What either side has asked for and not been told yet, by rules on sentences.

Asks are carried from turn to turn: a turn first closes what it answers, then opens what it asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from joshi.curation.state.answering import Ask, Said, answered, stems, wants_of
from joshi.curation.state.asking import BARE, OFFERED, VAGUE, clauses_that_ask, short
from joshi.rubric.text import sentences
from joshi.schema import Turn

MOST_ASKS = 5  # told in a prompt
_DROPPED = 2  # replies that pass an ask by: whoever still wants it asks again
_MOST_KEPT = 20  # carried along: bounds the work of a turn
_MOST_CHARACTERS = 8_000  # of a message; what people write is shorter
_MOST_SENTENCES = 60
_LONGEST_SENTENCE = 400  # characters


def outstanding(turns: Sequence[Turn]) -> list[str]:
    """What is open after the last of these turns, oldest first."""
    asks: list[Ask] = []
    for turn in turns:
        asks = after(asks, turn)
    return texts(asks)


def texts(asks: Sequence[Ask]) -> list[str]:
    """The newest few, oldest first."""
    return [ask.text for ask in asks[-MOST_ASKS:]]


def after(asks: Sequence[Ask], turn: Turn) -> list[Ask]:
    """What is open once this turn was written."""
    if turn.role == "system":
        return list(asks)
    said = [Said.of(text) for text in _sentences(turn.text)]
    theirs = [ask for ask in asks if ask.role != turn.role]
    closed = answered(theirs, said)
    still = [ask if ask.role == turn.role else _passed(ask, said) for ask in asks if ask not in closed]
    still = [ask for ask in still if ask.passed_by < _DROPPED]
    previous: str | None = None  # the sentence before, if it asked for nothing
    for one in said:
        asked = False
        for clause in clauses_that_ask(one.text):
            asked = True
            if VAGUE.search(clause):
                continue
            if BARE.search(clause):  # 'Does that suit you?' asks for the sentence before
                if previous is None:
                    continue
                clause = OFFERED.sub("", previous)
            ask = _ask(clause, one.text, turn.role)
            if ask is None:
                continue
            known = next((n for n, other in enumerate(still) if _same(ask, other)), None)
            if known is None:
                still.append(ask)
            elif still[known].role == ask.role:  # asked again
                still[known] = replace(still[known], passed_by=0)
        previous = None if asked else one.text
    return still[-_MOST_KEPT:]


def _sentences(text: str) -> list[str]:
    if len(text) > _MOST_CHARACTERS:  # asks stand at the start or at the end
        text = f"{text[: _MOST_CHARACTERS // 2]}\n{text[-_MOST_CHARACTERS // 2 :]}"
    spans = sentences(text)[:_MOST_SENTENCES]
    return [text[start : min(end, start + _LONGEST_SENTENCE)] for start, end in spans]


def _ask(clause: str, sentence: str, role: str) -> Ask | None:
    text, words, wants = short(clause), frozenset(stems(clause)), wants_of(clause, sentence)
    told = words or wants & {"date", "figure", "who"}  # 'How many, and by when?'
    return Ask(text, role, words, wants) if told and len(text) > 2 else None


def _passed(ask: Ask, said: Sequence[Said]) -> Ask:
    put_off = any(one.deferred for one in said)
    return replace(ask, passed_by=0 if put_off else ask.passed_by + 1)


def _same(one: Ask, other: Ask) -> bool:
    if one.text == other.text:
        return True
    shared = len(one.words & other.words)
    return shared > 0 and shared >= 0.75 * min(len(one.words), len(other.words))
