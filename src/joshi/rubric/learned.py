"""What word lists cannot see: heads over sentence embeddings, one for each question that a rule asks.

A head is a logistic regression on MiniLM's vectors. `learn.py` makes them from answers that were written and
labelled for it; they lie beside this file as safetensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from joshi.embedding import Array, vector
from joshi.rubric.text import MOST_CHARACTERS, sentences

HEADS = Path(__file__).with_name("heads.safetensors")
SHORT_WORDS = 5
Place = Literal["first", "middle", "last"]


def rudeness(text: str) -> float:
    """Probability that a reader takes the text for toxic, dismissive or condescending."""
    return _probability("professional", vector(text))


def missing_acknowledgement(first: str, message: str, by_words: bool) -> float:
    """Probability that the first sentence takes up nothing of the message; `by_words` is what the word lists say."""
    return _probability("acknowledgement", acknowledgement_features(first, message, by_words))


def acknowledgement_features(first: str, message: str, by_words: bool) -> Array:
    """(3 * SIZE + 1,): the sentence, and where it meets and leaves the message."""
    u, v = vector(first), vector(message)
    return np.concatenate([u, 5 * u * v, np.abs(u - v), np.array([by_words], np.float32)])


def emptiness(sentence: str, place: Place, by_words: bool) -> float:
    """Probability that a sentence is a greeting, a closing or filler; `place` is where in the answer it stands."""
    return _probability("no_boilerplate", emptiness_features(sentence, place, by_words))


def emptiness_features(sentence: str, place: Place, by_words: bool) -> Array:
    """(SIZE + 4,)"""
    hints = [place == "first", place == "last", len(sentence.split()) < SHORT_WORDS, by_words]
    return np.concatenate([vector(sentence), np.array(hints, np.float32)])


def place_of(number: int, sentences: int) -> Place:
    return "first" if number == 0 else "last" if number == sentences - 1 else "middle"


def exposure(sentence: str) -> float:
    """Probability that a sentence gives away how the buyer works inside."""
    return _probability("no_internals", vector(sentence))


def warmth(text: str) -> float:
    """Probability that a reader finds empathy in the text: that of its warmest sentence, of its first MOST_CHARACTERS."""
    text = text[:MOST_CHARACTERS]
    return max((_probability("warmth", vector(text[a:b])) for a, b in sentences(text)), default=0.0)


STEP_KINDS = ("none", "ask", "promise")
_STEP_VECTOR = 2.0  # of a clause's vector beside its cues; by cross-validation


def step_kind(clause: str, cues: Sequence[float]) -> str:
    """What a clause does, one of STEP_KINDS."""
    weights = _heads()["one_next_step"]
    return STEP_KINDS[int((weights[:, :-1] @ step_features(clause, cues) + weights[:, -1]).argmax())]


def asks_more_than_once(clause: str, cues: Sequence[float]) -> bool:
    """Whether a clause that asks asks for several things."""
    return _probability("one_next_step_several", step_features(clause, cues)) > 0.5


def step_features(clause: str, cues: Sequence[float]) -> Array:
    """(SIZE + cues,)"""
    return np.concatenate([_STEP_VECTOR * vector(clause), np.array(cues, np.float32)])


def _probability(head: str, features: Array) -> float:
    weights = _heads()[head]
    return float(1 / (1 + np.exp(-(features @ weights[:-1] + weights[-1]))))


@cache
def _heads() -> dict[str, Array]:
    """Weights of each head, the intercept last."""
    from safetensors.numpy import load_file

    heads: dict[str, Array] = load_file(HEADS)
    return heads
