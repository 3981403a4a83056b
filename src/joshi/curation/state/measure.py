"""How well the state is inferred: python -m joshi.curation.state.measure --labels tests/data/mining --examples examples/procwise/transcripts

`development` was tuned on; `unseen` was written apart and nothing was tuned on it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from joshi.curation.state.asks import outstanding
from joshi.curation.state.learn import EXAMPLE_WEIGHT, Labelled, example_messages, fit, labelled
from joshi.curation.state.sentiment import SENTIMENTS, features, sentiment, warm
from joshi.embedding import Array
from joshi.schema import Turn

FOLDS = 8

# What was used before the head: the first that speaks.
_WORDS = (
    ("frustrated", re.compile(r"\b(frustrat|annoy|unacceptable|fed up|ridiculous|disappoint|not happy|third time|angry)", re.I)),
    ("worried", re.compile(r"\b(worr|afraid|difficult|sorry|unfortunately|regret|struggl|pressure|can[’']t keep|concern)", re.I)),
    ("firm", re.compile(r"\b(final|best (?:we|i) can|cannot (?:go|move)|no further|not negotiable|last offer|rock bottom|must)", re.I)),
    ("warm", re.compile(r"\b(glad|happy|pleasure|great|thank|appreciate|delighted|wonderful|lovely)", re.I)),
)  # fmt: skip


def by_words(text: str) -> str:
    return next((name for name, words in _WORDS if words.search(text)), "neutral")


@dataclass(frozen=True)
class Moods:
    """`confusion[label][said]`: messages."""

    accuracy: float
    macro_f1: float
    confusion: dict[str, Counter[str]]


def moods(pairs: Sequence[tuple[str, str]]) -> Moods:
    """Of (label, what was said)."""
    confusion = {label: Counter(said for known, said in pairs if known == label) for label in SENTIMENTS}
    scores = []
    for label in SENTIMENTS:
        hit = confusion[label][label]
        named = sum(row[label] for row in confusion.values())
        scores.append(2 * hit / max(1, named + confusion[label].total()))
    return Moods(sum(a == b for a, b in pairs) / len(pairs), float(np.mean(scores)), confusion)


def judged(rows: Sequence[Labelled], judge: Callable[[str], str]) -> Moods:
    warm(text for text, _ in rows)
    return moods([(label, judge(text)) for text, label in rows])


def across_folds(own: Sequence[Labelled], stated: Sequence[tuple[str, str, str]]) -> tuple[Moods, Moods]:
    """Own messages and the example's, each judged by a head that saw neither it nor its conversation."""
    talks = {name: place % FOLDS for place, name in enumerate(dict.fromkeys(talk for talk, _, _ in stated))}
    rows = [*own, *((text, mood) for _, text, mood in stated)]
    folds = [n % FOLDS for n in range(len(own))] + [talks[talk] for talk, _, _ in stated]
    weights = [1.0] * len(own) + [EXAMPLE_WEIGHT] * len(stated)
    said = [""] * len(rows)
    for fold in range(FOLDS):
        learnt = [n for n in range(len(rows)) if folds[n] != fold]
        head = fit([rows[n] for n in learnt], [weights[n] for n in learnt])
        for n in set(range(len(rows))) - set(learnt):
            said[n] = _by_head(head, rows[n][0])
    pairs = [(label, one) for (_, label), one in zip(rows, said, strict=True)]
    return moods(pairs[: len(own)]), moods(pairs[len(own) :])


def _by_head(head: Array, text: str) -> str:
    return SENTIMENTS[int((features(text) @ head[:-1] + head[-1]).argmax())]


@dataclass(frozen=True)
class Asks:
    states: int
    precision: float
    recall: float


def asks(path: Path) -> Asks:
    """An expected ask is found where all key words of one of its wordings stand in one that was inferred."""
    hits = said = wanted = states = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        left = outstanding([Turn(speaker=turn["role"], **turn) for turn in row["turns"]])
        states, said, wanted = states + 1, said + len(left), wanted + len(row["asks"])
        for wordings in row["asks"]:
            found = next((ask for ask in left if _speaks_of(ask, wordings)), None)
            if found is not None:
                left.remove(found)
                hits += 1
    return Asks(states, hits / max(1, said), hits / max(1, wanted))


def _speaks_of(ask: str, wordings: Sequence[str]) -> bool:
    return any(all(word in ask.lower() for word in wording.lower().split()) for wording in wordings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, required=True, help="folder with sentiment_*.jsonl and asks_*.jsonl")
    parser.add_argument("--examples", type=Path, required=True, help="the example's transcripts")
    given = parser.parse_args()
    own = labelled(given.labels / "sentiment_development.jsonl")
    unseen = labelled(given.labels / "sentiment_unseen.jsonl")
    stated = example_messages(given.examples)
    example = [(text, mood) for _, text, mood in stated]
    own_folds, example_folds = across_folds(own, stated)
    heads = (judged(unseen, sentiment), own_folds, example_folds)
    print(
        "| Sentiment | Messages | Words: accuracy | Macro-F1 | Head: accuracy | Macro-F1 |",
        "|---|---|---|---|---|---|",
        sep="\n",
    )
    for name, rows, head in zip(
        ("unseen", "development, folds", "example, folds"), (unseen, own, example), heads, strict=True
    ):
        old = judged(rows, by_words)
        print(
            f"| {name} | {len(rows)} | {old.accuracy:.2f} | {old.macro_f1:.2f} | {head.accuracy:.2f} | {head.macro_f1:.2f} |"
        )
    for name, found in (("words", judged(unseen, by_words)), ("head", heads[0]), ("head on the example", heads[2])):
        print(f"\n| {name}: label ↓ said → | {' | '.join(SENTIMENTS)} |", "|---|" + "---|" * len(SENTIMENTS), sep="\n")
        for label, row in found.confusion.items():
            print(f"| {label} | {' | '.join(str(row[said]) for said in SENTIMENTS)} |")
    print("\n| Asks | States | Precision | Recall |", "|---|---|---|---|", sep="\n")
    for part in ("development", "unseen"):
        got = asks(given.labels / f"asks_{part}.jsonl")
        print(f"| {part} | {got.states} | {got.precision:.2f} | {got.recall:.2f} |")


if __name__ == "__main__":
    main()
