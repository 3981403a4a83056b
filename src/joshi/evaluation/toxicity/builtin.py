"""The packaged scorer: MiniLM with low-rank corrections that `learn.py` made (LoRA, Hu et al. 2021), and a linear head.

MiniLM's own vectors put "nobody thinks you are an idiot" beside "you are an idiot"; corrected ones keep them apart
better. Only the corrections lie beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from joshi.embedding import SIZE, Array, batches, forward, minilm
from joshi.rubric.text import sentences

WEIGHTS = Path(__file__).with_name("weights.safetensors")
HEAD, DOWN, UP = "head", ".down", ".up"  # names in the file: head, and two narrow matrices for each corrected one

# The least, in hundredths, at which at most 2% of a third of the example's civil replies, which is not learnt, raise a
# false alarm; `learn.py` finds it.
THRESHOLD = 0.82

MOST_CHARACTERS = 20_000  # of a text that are read; an answer has a thousand
_PIECE_CHARACTERS = 800  # a longer sentence is cut: MiniLM reads 256 tokens
_WHOLE_CHARACTERS = 1_600
_BLOCK_CHARACTERS = 2_000  # are searched for sentences at once: the search's time grows with their square
_MOST_PARTS = 400  # of a text; some seconds


def score(texts: Sequence[str], weights: Path = WEIGHTS) -> list[float]:
    """Of each text the probability that it is toxic: of its worst two sentences, or of the whole where it is more."""
    found = [parts(text) for text in texts]
    known = list(dict.fromkeys(part for own in found for part in own))
    chances = dict(zip(known, probabilities(known, weights), strict=True))
    return [max((chances[part] for part in own), default=0.0) for own in found]


def parts(text: str) -> list[str]:
    """The whole and each two neighbouring sentences: alone, a sentence may lack what makes it harmless, such as who is
    quoted. Nothing of a text without letters or digits."""
    spans = pieces(text)
    pairs = [text[start:end] for (start, _), (_, end) in pairwise(spans)]
    return list(dict.fromkeys([text[:_WHOLE_CHARACTERS], *pairs]))[:_MOST_PARTS] if spans else []


def pieces(text: str) -> list[tuple[int, int]]:
    """Ranges of the sentences, long ones cut."""
    blocks = range(0, min(len(text), MOST_CHARACTERS), _BLOCK_CHARACTERS)
    return [
        (at, min(at + _PIECE_CHARACTERS, block + end))
        for block in blocks
        for start, end in sentences(text[block : block + _BLOCK_CHARACTERS])
        for at in range(block + start, block + end, _PIECE_CHARACTERS)
    ]


def probabilities(texts: Sequence[str], learnt: Path = WEIGHTS) -> list[float]:
    tokenizer, _ = minilm()
    weights, head = _corrected(learnt)
    encoded = [tokenizer.encode(text).ids for text in texts]
    logits = np.empty(len(texts), np.float32)
    for chosen in batches([len(ids) for ids in encoded]):
        longest = max(len(encoded[i]) for i in chosen)
        ids = np.zeros((len(chosen), longest), np.int64)
        mask = np.zeros((len(chosen), longest), np.float32)
        for row, i in enumerate(chosen):
            ids[row, : len(encoded[i])] = encoded[i]
            mask[row, : len(encoded[i])] = 1
        hidden = forward(ids, mask, weights)
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)  # (texts, SIZE)
        logits[chosen] = mean @ head[:SIZE] + head[SIZE]
    return [float(one) for one in 1 / (1 + np.exp(-logits))]


@cache
def _corrected(file: Path) -> tuple[dict[str, Array], Array]:
    """MiniLM's matrices with their corrections added, and the head: SIZE weights and the intercept."""
    learnt = read(file)
    _, plain = minilm()
    weights = dict(plain)
    for name in (name.removesuffix(DOWN) for name in learnt if name.endswith(DOWN)):
        weights[name] = plain[name] + learnt[name + DOWN] @ learnt[name + UP]
    return weights, learnt[HEAD]


def read(file: Path) -> dict[str, Array]:
    from safetensors.numpy import load_file

    return {name: value.astype(np.float32) for name, value in load_file(file).items()}
