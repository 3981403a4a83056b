"""How well the empathy score and warmth tell texts with empathy from others.

    python -m tests.rubric.empathy [--corpora CORPORA]

Of the texts that teach warmth each domain is judged by a head that was taught the others only. With the corpora also
essays on news whose writers rated their own empathy (Buechel et al. 2018), median-split as published, and what campers
said while they bargained, of which annotators marked what shows empathy (CaSiNo; Chawla et al. 2021); nothing was
taught with either. Areas under the ROC curve with 95% intervals; 0.5 is chance.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from joshi.base.find import find_base
from joshi.base.tokenizer import chat_tokenizer
from joshi.evaluation.toxicity.measure import Figure, area
from joshi.plan import Plan
from joshi.rubric import RULES, WEIGHTS, Rubric
from joshi.rubric.acknowledgement import by_words, first_sentence
from joshi.rubric.learn import WARMTH_STRENGTH, fit, lesson_in_warmth, vectors_of
from joshi.rubric.learned import missing_acknowledgement, warmth

from ..conftest import sample_of

TEXTS = Path(__file__).parents[1] / "data" / "rubric" / "warmth_training.jsonl"
SHOWS_EMPATHY = "showing-empathy"


@dataclass(frozen=True)
class Said:
    text: str
    message: str  # what it answers; empty for an essay
    empathic: bool


def essays(file: Path) -> Iterator[Said]:
    """Of messages.csv of the empathic reactions."""
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield Said(row["essay"], "", row["empathy_bin"] == "1")


def campers(file: Path) -> Iterator[Said]:
    """The annotated utterances of a CaSiNo file; what another camper said before is the message."""
    for talk in json.loads(file.read_text(encoding="utf-8")):
        before = ""
        for text, strategies in talk["annotations"]:
            yield Said(text, before, SHOWS_EMPATHY in strategies.split(","))
            before = text


def measured(rubric: Rubric, texts: list[Said]) -> dict[str, Figure]:
    """Of the score, of each rule in it, of the learned part of `acknowledgement` alone, of mere length."""
    columns: dict[str, list[float]] = {
        name: [] for name in ("empathy score", *RULES, "acknowledgement's head", "warmth", "words")
    }
    for said in texts:
        findings = rubric.check(said.text, sample_of(said.text, said.message))
        for finding in findings:
            columns[finding.rule].append(finding.passed)
        columns["empathy score"].append(sum(WEIGHTS[finding.rule] for finding in findings if finding.passed))
        span = first_sentence(said.text)
        first = said.text[slice(*span)] if span else ""
        missing = missing_acknowledgement(first, said.message, by_words(first, said.message)) if first else 1.0
        columns["acknowledgement's head"].append(1 - missing)
        columns["warmth"].append(warmth(said.text))
        columns["words"].append(len(said.text.split()))
    empathic = np.array([said.empathic for said in texts])
    return {name: area(np.array(found)[empathic], np.array(found)[~empathic]) for name, found in columns.items()}


def domains(file: Path) -> dict[str, list[Said]]:
    """The texts that teach warmth, by domain."""
    found: dict[str, list[Said]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found.setdefault(row["domain"], []).append(Said(row["text"], "", row["empathic"]))
    return found


def held_out(file: Path) -> Iterator[tuple[str, Figure, Figure]]:
    """For each domain its name and the areas of warmth, taught without the domain, and of mere length."""
    texts = domains(file)
    rows = {name: [lesson_in_warmth(said.text, said.empathic) for said in of] for name, of in texts.items()}
    for name, of in texts.items():
        weights = fit([row for other, them in rows.items() if other != name for row in them], WARMTH_STRENGTH)
        empathic = np.array([said.empathic for said in of])
        warm = np.array([max(vectors_of(said.text) @ weights[:-1]) for said in of])
        words = np.array([float(len(said.text.split())) for said in of])
        yield name, *(area(values[empathic], values[~empathic]) for values in (warm, words))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, help="folder with empathic_reactions and casino")
    corpora = parser.parse_args().corpora
    print("| Domain held out | Texts | Warmth | Words |", "|---|---|---|---|", sep="\n")
    for name, warm, words in held_out(TEXTS):
        print(f"| {name} | {warm.n} | {warm} | {words} |", flush=True)
    if corpora is None:
        return
    rubric = Rubric(Plan(), chat_tokenizer(find_base("builtin:smollm2", Path())))
    tables = {
        "Essays": measured(rubric, list(essays(corpora / "empathic_reactions" / "messages.csv"))),
        "Campers": measured(rubric, list(campers(corpora / "casino" / "casino_train.json"))),
    }
    first = next(iter(tables.values()))
    heads = [f"{name}, {next(iter(table.values())).n}" for name, table in tables.items()]
    print(f"\n| AUC of | {' | '.join(heads)} |", "|---|" + "---|" * len(tables), sep="\n")
    for row in first:
        print(f"| {row} | {' | '.join(str(table[row]) for table in tables.values())} |")


if __name__ == "__main__":
    main()
