"""The supplier's mood in one message: a head over its sentence embedding and a few cues. `learn.py` makes the weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from joshi import embedding
from joshi.embedding import Array
from joshi.surrogates import PLACEHOLDER

SENTIMENTS = ("neutral", "warm", "worried", "firm", "frustrated")
HEAD = Path(__file__).with_name("sentiment.safetensors")

_MOST_CHARACTERS = 4_000  # more than an embedding reads of a message
_CUE_SCALE = 0.5  # beside a unit vector's numbers, which are small

# Each is one number: whether it occurs. The head says what it means; mean words may be said in a warm message.
_CUES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:thank|grateful|appreciat|cheers)",
        r"\b(?:glad\w*|happy|pleas(?:ed|ure)|delight\w*|joy|lovely|wonderful|great|brilliant|perfect|love[ds]?|honou?r|proud|kind|nice|good)\b",
        r"\b(?:sorry|apolog\w*|regret\w*|afraid|unfortunately|ashamed)\b",
        r"\b(?:worr\w+|fear\w*|anxious|nervous|scare\w*|uneasy|concern\w*|trouble\w*|danger|risk|desperate\w*|struggl\w*|pressure|strain|exhausted)\b",
        r"\b(?:hope|wish|pray|beg|understand\w*)\b",
        r"\b(?:don[’']t know|not (?:sure|certain|clear)|can[’']t (?:say|tell|see)|perhaps|might|may)\b",
        r"\b(?:can(?:not|[’']t)|won[’']t|will not|do(?:es)? not|don[’']t|not (?:possible|negotiable|prepared|able))\b",
        r"^no\b|\bno (?:exceptions?|further|more|less|room|way)\b|\bor nothing\b|\bnothing (?:else|more)\b",
        r"\b(?:final|last|best|floor|limit|condition|insist|require|must|stays?|stand|remain|fixed|settled|agreed|contract|clause|terms)\b",
        r"\b(?:unless|until|without|otherwise|either|by (?:noon|friday|monday|tomorrow))\b",
        r"\b(?:again|still|already|every time|third|fourth|twice|three times|times|always|weeks|months|years?)\b",
        r"\b(?:nobody|no one|somebody|anybody|anyone)\b",
        r"\b(?:tired|sick of|fed up|enough|patience|annoy\w*|angry|disgrace|shame|insult\w*|unfair|disappoint\w*|frustrat\w*|unacceptable|ridiculous|nonsense|decency|respect)\b",
        r"\byou(?:r|[’']ve|[’']re|[’']d)?\b",
        r"\b(?:i|my|me)\b",
        r"\b(?:we|our|us)\b",
        r"!",
        r"\?",
        r"\d",
        r"\b(?:free|gladly|no (?:charge|cost|trouble|problem)|on us|gift|extra|throw in|voucher|for nothing)\b",
        r"\b(?:please|kindly)\b",
        r"\b(?:attached|enclosed|valid|per|quote|offer|lead time|plus vat)\b",
        r"\b(?:lost|lose|losing|broke\w*|burn\w*|failed|stuck|late|delay\w*|down|ill|hospital|fire|storm|flood\w*|strike)\b",
    )
)
_PLAIN = {"PERSON": "Alex", "FIRM": "the firm", "SUPPLIER": "our firm", "BUYER": "your firm"}


def sentiment(text: str) -> str:
    """One of SENTIMENTS."""
    return SENTIMENTS[int((features(text) @ _head()[:-1] + _head()[-1]).argmax())]


def warm(texts: Iterable[str]) -> None:
    """Embed together what will be judged one by one."""
    embedding.warm([_plain(text) for text in texts])


def features(text: str) -> Array:
    """(SIZE + cues + 3,): the message's vector, its cues, its length, figures and exclamations."""
    plain = _plain(text)
    cues = [float(bool(cue.search(plain))) for cue in _CUES]
    digits = sum(letter.isdigit() for letter in plain) / max(1, len(plain))
    cues += [np.log(max(1, len(plain.split()))) / 3, 5 * digits, min(3, plain.count("!")) / 3]
    return np.concatenate([embedding.vector(plain), _CUE_SCALE * np.array(cues, np.float32)])


def _plain(text: str) -> str:
    """Without placeholders, which an embedding takes for code."""
    return PLACEHOLDER.sub(lambda found: _PLAIN.get(found[1], "it"), text[:_MOST_CHARACTERS])


@cache
def _head() -> Array:
    """(features + 1, sentiments): weights, the intercepts last."""
    from safetensors.numpy import load_file

    weights: Array = load_file(HEAD)["sentiment"]
    return weights
