"""Makes heads.safetensors: python -m joshi.rubric.learn --labels tests/data/rubric --examples examples/procwise/transcripts

Labelled answers teach what the rule means; the example's own answers, which weigh less, teach how often it is broken.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from joshi.curation.mine import mine
from joshi.embedding import Array, vector
from joshi.rubric import acknowledgement, boilerplate, next_step
from joshi.rubric.learned import (
    HEADS,
    STEP_KINDS,
    acknowledgement_features,
    emptiness_features,
    place_of,
    step_features,
)
from joshi.rubric.text import sentences
from joshi.schema import Conversation, Sample
from joshi.transcripts import read
from joshi.workspace import sha256_file, sha256_text

EXAMPLE_WEIGHT = {"professional": 0.3, "acknowledgement": 0.2, "no_boilerplate": 0.3, "no_internals": 0.3}
STRENGTH = {"professional": 2.0, "acknowledgement": 2.0, "no_boilerplate": 3.0, "no_internals": 3.0}  # 1 / L2 penalty
Row = tuple[Array, bool, float]  # features, broken, weight


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tone(path: Path) -> Iterator[Row]:
    yield from ((vector(row["answer"]), row["label"] == "fail", 1.0) for row in _lines(path))


def opening(path: Path) -> Iterator[Row]:
    for row in _lines(path):
        yield _opening(row["message"], row["answer"]), row["label"] == "fail", 1.0


def _opening(message: str, answer: str) -> Array:
    first = answer[slice(*(acknowledgement.first_sentence(answer) or (0, 0)))]
    return acknowledgement_features(first, message, acknowledgement.by_words(first, message))


def filler(path: Path) -> Iterator[Row]:
    for row in _lines(path):
        hint = bool(boilerplate.by_words(row["sentence"]))
        yield emptiness_features(row["sentence"], row["place"], hint), row["label"] == "fail", 1.0


def inside(path: Path) -> Iterator[Row]:
    yield from ((vector(row["sentence"]), row["label"] == "fail", 1.0) for row in _lines(path))


WARMTH_STRENGTH = 1.0


def warm(path: Path) -> Iterator[Row]:
    """Texts with and without empathy."""
    yield from (lesson_in_warmth(row["text"], row["empathic"]) for row in _lines(path))


def lesson_in_warmth(text: str, empathic: bool) -> Row:
    """A text is taught as the mean of its sentences, as nobody says which of them is warm; judged by the warmest."""
    return vectors_of(text).mean(0), empathic, 1.0


def vectors_of(text: str) -> Array:
    """(sentences, SIZE)"""
    return np.array([vector(text[slice(*span)]) for span in sentences(text)])


STEP = re.compile(r"⟦(ask|promise):([^⟧]*)⟧")  # a marked step of an answer
STEP_STRENGTH = 0.3
SENTENCE_WEIGHT, STEPS_EXAMPLE_WEIGHT = 0.5, 1.0  # of a sentence that stands alone, in each of two places; of examples


def steps(answers: Path, alone: Path) -> Iterator[tuple[Array, str, int, float]]:
    """Features, kind, things asked for, and weight, of each clause of answers with marked steps and of sentences."""
    for row in _lines(answers):
        answer, marked = unmarked(row["answer"])
        found = next_step.clauses(answer)
        for number, (start, end) in enumerate(found):
            within = [kind for place, kind in marked if start <= place < end]
            kind = "ask" if "ask" in within else "promise" if within else "none"
            yield _step(answer[start:end], number, len(found)), kind, within.count("ask"), 1.0
    for row in _lines(alone):
        asked = row["steps"] if row["kind"] == "ask" else 0
        for count in (3, 2):  # as a sentence in the middle and as the last
            yield _step(row["sentence"], 1, count), row["kind"], asked, SENTENCE_WEIGHT


def example_steps(known: Sequence[tuple[Sample, set[str]]]) -> Iterator[tuple[Array, str, int, float]]:
    """The example's answers with one next step, where patterns see just one: mostly they teach what is none."""
    for sample, breaks in known:
        answer = sample.ideal_answer
        texts = [answer[slice(*span)] for span in next_step.clauses(answer)]
        plain = [place for place, text in enumerate(texts) if next_step.plainly_asks(text, place)]
        if len(plain) != 1 or "one_next_step" in breaks:
            continue
        for number, text in enumerate(texts):
            asks = number == plain[0]
            yield _step(text, number, len(texts)), "ask" if asks else "none", int(asks), STEPS_EXAMPLE_WEIGHT


def _step(clause: str, number: int, count: int) -> Array:
    return step_features(clause, next_step.cues(clause, number, count))


def unmarked(answer: str) -> tuple[str, list[tuple[int, str]]]:
    """An answer without its marks, and where each step begins, with its kind."""
    plain, at = "", 0
    marked = []
    for found in STEP.finditer(answer):
        plain += answer[at : found.start()]
        marked.append((len(plain), found[1]))
        plain += found[2]
        at = found.end()
    return plain + answer[at:], marked


ROWS = {"professional": tone, "acknowledgement": opening, "no_boilerplate": filler, "no_internals": inside}


def examples(rule: str, known: Sequence[tuple[Sample, set[str]]], weight: float) -> Iterator[Row]:
    """The example's answers; of those that break a rule nobody says in which sentence, so the two that look at
    sentences take only the others."""
    for sample, breaks in known:
        answer, broken = sample.ideal_answer, rule in breaks
        spans = sentences(answer)
        match rule:
            case "professional":
                yield vector(answer), broken, weight
            case "acknowledgement":
                yield _opening(sample.context.history[-1].text, answer), broken, weight
            case _ if broken:
                continue
            case "no_boilerplate":
                for number, span in enumerate(spans):
                    text = answer[slice(*span)]
                    hint = bool(boilerplate.by_words(text))
                    yield emptiness_features(text, place_of(number, len(spans)), hint), False, weight
            case _:
                yield from ((vector(answer[slice(*span)]), False, weight) for span in spans)


def example_answers(transcripts: Path, labels: Path) -> list[tuple[Sample, set[str]]]:
    """The example's buyer answers as they were written, with the rules that their authors broke on purpose."""
    breaks = {row["answer_sha256"]: set(row["breaks"]) for row in _lines(labels)}
    talks = (talk for talk in read([transcripts], ["buying.example"]) if isinstance(talk, Conversation))
    samples = [sample for talk in talks for sample in mine(talk, 10, {})]
    return [(s, breaks[key]) for s in samples if (key := sha256_text(s.ideal_answer)) in breaks]


def fit(rows: Iterable[Row], strength: float) -> Array:
    """Weights of a logistic regression, the intercept last."""
    from sklearn.linear_model import LogisticRegression

    features, broken, weights = zip(*rows, strict=True)
    model = LogisticRegression(C=strength, max_iter=3_000)
    model.fit(np.stack(features), np.array(broken), sample_weight=np.array(weights))
    return np.concatenate([model.coef_[0], model.intercept_]).astype(np.float32)


def step_heads(rows: Sequence[tuple[Array, str, int, float]]) -> dict[str, Array]:
    """The kind of a clause, (STEP_KINDS, features + 1), and whether one that asks asks for several things."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=STEP_STRENGTH, max_iter=3_000)
    kinds = np.array([STEP_KINDS.index(kind) for _, kind, _, _ in rows])
    model.fit(np.stack([row[0] for row in rows]), kinds, sample_weight=np.array([row[3] for row in rows]))
    several = fit([(told, asked > 1, weight) for told, kind, asked, weight in rows if kind == "ask"], STEP_STRENGTH)
    kind = np.concatenate([model.coef_, model.intercept_[:, None]], axis=1)
    # safetensors writes an array as it lies in memory.
    return {"one_next_step": np.ascontiguousarray(kind, np.float32), "one_next_step_several": several}


def main() -> None:
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--labels", type=Path, required=True, help="folder with RULE_training.jsonl and example_labels.jsonl"
    )
    parser.add_argument("--examples", type=Path, required=True, help="the example's transcripts")
    parser.add_argument("--out", type=Path, default=HEADS)
    given = parser.parse_args()
    heads: dict[str, Array] = {}
    sources: dict[str, Any] = {}
    known = example_answers(given.examples, given.labels / "example_labels.jsonl")
    for rule, weight in EXAMPLE_WEIGHT.items():
        path = given.labels / f"{rule}_training.jsonl"
        sources[path.name] = sha256_file(path)
        heads[rule] = fit([*ROWS[rule](path), *examples(rule, known, weight)], STRENGTH[rule])
    files = [given.labels / f"one_next_step_{part}.jsonl" for part in ("answers", "training")]
    sources |= {path.name: sha256_file(path) for path in files}
    heads |= step_heads([*steps(*files), *example_steps(known)])
    path = given.labels / "warmth_training.jsonl"
    sources[path.name] = sha256_file(path)
    heads["warmth"] = fit(warm(path), WARMTH_STRENGTH)
    save_file(heads, given.out, {"labels": json.dumps(sources)})
    given.out.chmod(0o644)


if __name__ == "__main__":
    main()
