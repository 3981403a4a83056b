"""Makes sentiment.safetensors: python -m joshi.curation.state.learn --labels tests/data/mining --examples examples/procwise/transcripts

Messages written for it teach the moods; the example's own statements, which weigh less, how they occur in whole talks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from joshi.curation.mine import merge_runs
from joshi.curation.state.sentiment import HEAD, SENTIMENTS, features, warm
from joshi.embedding import Array
from joshi.schema import Conversation
from joshi.transcripts import read
from joshi.workspace import sha256_file

EXAMPLE_WEIGHT = 0.3
STRENGTH = 2.0  # 1 / L2 penalty
Labelled = tuple[str, str]  # text, sentiment


def labelled(path: Path) -> list[Labelled]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [(row["text"], row["label"]) for row in rows]


def example_messages(transcripts: Path) -> list[tuple[str, str, str]]:
    """(conversation, text, sentiment) of every supplier's message whose mood the example states."""
    talks = (talk for talk in read([transcripts], ["buying.example"]) if isinstance(talk, Conversation))
    return [
        (talk.id, turn.text, turn.state.supplier_sentiment)
        for talk in talks
        for turn in merge_runs(talk.turns)
        if turn.role == "supplier" and turn.state and turn.state.supplier_sentiment in SENTIMENTS
    ]


def fit(rows: Sequence[Labelled], weights: Iterable[float]) -> Array:
    """(features + 1, sentiments): a multinomial logistic regression, the intercepts last."""
    from sklearn.linear_model import LogisticRegression

    warm(text for text, _ in rows)
    model = LogisticRegression(C=STRENGTH, max_iter=3_000)
    places = np.array([SENTIMENTS.index(label) for _, label in rows])
    model.fit(np.stack([features(text) for text, _ in rows]), places, sample_weight=np.array(list(weights)))
    return np.concatenate([model.coef_.T, model.intercept_[None]]).astype(np.float32)


def main() -> None:
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, required=True, help="folder with sentiment_development.jsonl")
    parser.add_argument("--examples", type=Path, required=True, help="the example's transcripts")
    parser.add_argument("--out", type=Path, default=HEAD)
    given = parser.parse_args()
    path = given.labels / "sentiment_development.jsonl"
    own = labelled(path)
    stated = [(text, mood) for _, text, mood in example_messages(given.examples)]
    weights = [1.0] * len(own) + [EXAMPLE_WEIGHT] * len(stated)
    head = fit([*own, *stated], weights)
    save_file({"sentiment": head}, given.out, {"labels": json.dumps({path.name: sha256_file(path)})})
    given.out.chmod(0o644)


if __name__ == "__main__":
    main()
