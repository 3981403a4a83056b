"""How well toxic texts are told apart: python -m joshi.evaluation.toxicity.measure --labels tests/data/toxicity

`unseen` holds whole kinds that nothing was taught, and texts of the other kinds; nothing was tuned on either.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from joshi import embedding
from joshi.errors import Unavailable
from joshi.evaluation.measure import CONFIDENCE, rate
from joshi.evaluation.toxicity import THRESHOLD, Scorer, scorer
from joshi.rubric import professional
from joshi.rubric.learned import rudeness

HARD = ("negation", "quotation", "reclaimed", "counter_speech")
BUSINESS = ("plain_business", "warm_business", "refusal", "apology", "complaint", "long_civil")
PEER = "profanity_check"  # of the package alt-profanity-check
RESAMPLES = 2_000
SEED = 0

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Figure:
    value: float
    low: float
    high: float
    n: str

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


@dataclass(frozen=True)
class Judged:
    """Texts that one scorer scored; `kinds` and `toxic` say what they are."""

    scores: Floats
    toxic: np.ndarray[Any, np.dtype[np.bool_]]
    kinds: np.ndarray[Any, np.dtype[np.str_]]
    threshold: float


def figures(judged: Judged) -> Iterator[tuple[str, Figure]]:
    """Of the unseen texts, row by row."""
    toxic, civil, above = judged.scores[judged.toxic], judged.scores[~judged.toxic], judged.scores > judged.threshold
    yield "AUC, all", area(toxic, civil)
    for kind in HARD:
        yield f"AUC, civil texts: {kind} only", area(toxic, judged.scores[judged.kinds == kind])
    yield "Accuracy at the threshold", share(above == judged.toxic)
    yield "Toxic texts caught", share(above[judged.toxic])
    yield "False alarms, all civil texts", share(above[~judged.toxic])
    yield "False alarms, plain business replies", share(above[np.isin(judged.kinds, BUSINESS)])


def area(toxic: Floats, civil: Floats) -> Figure:
    """Area under the ROC curve, with a 95% interval of the percentile bootstrap, resampled on either side."""
    draw = np.random.default_rng(SEED)
    again = [
        _area(draw.choice(toxic, len(toxic)), draw.choice(civil, len(civil)))
        for _ in range(RESAMPLES if len(toxic) and len(civil) else 0)
    ]
    if not again:
        return Figure(float("nan"), 0.0, 1.0, f"{len(toxic)} + {len(civil)}")
    low, high = np.quantile(again, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Figure(_area(toxic, civil), float(low), float(high), f"{len(toxic)} + {len(civil)}")


def _area(toxic: Floats, civil: Floats) -> float:
    """By ranks (Hanley and McNeil 1982): the chance that a toxic text scores above a civil one, a tie counting half."""
    ranks = rankdata(np.concatenate([toxic, civil]))[: len(toxic)]
    return float((ranks.sum() - len(toxic) * (len(toxic) + 1) / 2) / (len(toxic) * len(civil)))


def share(hits: np.ndarray[Any, np.dtype[np.bool_]]) -> Figure:
    """With an exact 95% interval."""
    found = rate(int(hits.sum()), len(hits))
    return Figure(found["rate"], found["low"], found["high"], str(len(hits)))


def by_rubric(texts: Sequence[str]) -> list[float]:
    embedding.warm(texts)
    return [rudeness(text) for text in texts]


def peer() -> Scorer:
    """alt-profanity-check, which is no part of the project.

    Raises:
        Unavailable: it is not installed.
    """
    if importlib.util.find_spec(PEER) is None:
        raise Unavailable("--peer needs the package alt-profanity-check; run: pip install alt-profanity-check")
    predict: Callable[[list[str]], Floats] = importlib.import_module(PEER).predict_prob
    return lambda texts: [float(one) for one in predict(list(texts))]


def main() -> None:
    from joshi.evaluation.toxicity.learn import Text, mail, own, replies, tweets  # needs torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, required=True, help="folder with *.jsonl")
    parser.add_argument("--peer", action="store_true", help="also alt-profanity-check and the rubric's head")
    parser.add_argument("--model", action="append", default=[], help="also hf: with a folder, judged at 0.5")
    parser.add_argument("--davidson", type=Path, help="labeled_data.csv: also the AUC on tweets held out")
    parser.add_argument("--mail", type=Path, help="Ask0729-fixed.txt: also false alarms on real mail")
    parser.add_argument("--examples", type=Path, help="the example's transcripts: also false alarms on its replies")
    parser.add_argument("--rubric", type=Path, help="folder with example_labels.jsonl; needed with --examples")
    given = parser.parse_args()
    judges: dict[str, tuple[Scorer, float]] = {"builtin": (scorer("builtin"), THRESHOLD)}
    if given.peer:
        judges["rubric's head"] = (by_rubric, professional.THRESHOLD)
        judges["alt-profanity-check"] = (peer(), 0.5)
    judges |= {name: (scorer(name), 0.5) for name in given.model}
    civil: dict[str, list[Text]] = {}
    if given.mail:
        civil["real mail"] = mail(given.mail)
    if given.examples:
        civil["the example's replies"] = replies(given.examples, given.rubric / "example_labels.jsonl")

    def judged(judge: str, texts: Sequence[Text]) -> Judged:
        score, threshold = judges[judge]
        return Judged(
            np.array(score([one.text for one in texts])),
            np.array([one.toxic for one in texts]),
            np.array([one.kind for one in texts]),
            threshold,
        )

    unseen = own(given.labels, "unseen")
    tables: list[dict[str, Figure]] = []
    kinds: list[dict[str, Figure]] = []
    for judge in judges:
        found = judged(judge, unseen)
        table = dict(figures(found))
        for name, texts in civil.items():
            kept = [one for one in texts if one.split == "unseen"]
            table[f"False alarms, {name}"] = share(judged(judge, kept).scores > judges[judge][1])
        if given.davidson:
            tweeted = judged(judge, tweets(given.davidson)[1])
            table["AUC, tweets held out"] = area(tweeted.scores[tweeted.toxic], tweeted.scores[~tweeted.toxic])
        tables.append(table)
        right = (found.scores > found.threshold) == found.toxic
        kinds.append({kind: share(right[found.kinds == kind]) for kind in dict.fromkeys(found.kinds.tolist())})
    _print("Unseen", list(judges), tables)
    _print("Accuracy by kind", list(judges), kinds)


def _print(title: str, judges: Sequence[str], tables: Sequence[dict[str, Figure]]) -> None:
    print(f"\n| {title} | n | {' | '.join(judges)} |", "|---|---|" + "---|" * len(judges), sep="\n")
    for row, first in tables[0].items():
        print(f"| {row} | {first.n} | {' | '.join(str(table[row]) for table in tables)} |")


if __name__ == "__main__":
    main()
