"""Labelled answers, and how well each rule agrees with their labels: python -m tests.rubric.labels"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from joshi.base.find import find_base
from joshi.base.tokenizer import chat_tokenizer
from joshi.plan import Plan
from joshi.rubric import RULES, Rubric, failed
from joshi.rubric.learn import example_answers

from ..conftest import EXAMPLE, sample_of

DATA = Path(__file__).parents[1] / "data" / "rubric"
LABELS = DATA / "example_labels.jsonl"
LABELLED_RULES = tuple(rule for rule in RULES if rule != "length")  # a count of tokens needs no annotator


@dataclass(frozen=True)
class Agreement:
    """A rule's verdicts against labels, where a broken answer is what is to be found."""

    answers: int
    precision: float
    recall: float
    accuracy: float


def measured(rubric: Rubric, rule: str, part: str) -> Agreement:
    """`part`: development, by which rules were mended, or unseen, which nobody read before it was measured."""
    pairs = []
    for line in (DATA / f"{rule}_{part}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        sample = sample_of(
            row["answer"],
            row["message"],
            instruction=row.get("instruction") or "Reply to the supplier's latest message.",
            facts=row.get("facts") or [],
            notes=row.get("notes"),
        )
        pairs.append((row["label"] == "fail", not rubric.judge(rule, row["answer"], sample).passed))
    hit = sum(label and found for label, found in pairs)
    return Agreement(
        len(pairs),
        hit / max(1, sum(found for _, found in pairs)),
        hit / sum(label for label, _ in pairs),
        sum(label == found for label, found in pairs) / len(pairs),
    )


def rules_table(rubric: Rubric) -> str:
    lines = [
        "| Rule | Precision | Recall | Accuracy | Unseen: precision | Recall | Accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule in LABELLED_RULES:
        cells = [
            f"{x:.2f}"
            for part in ("development", "unseen")
            for a in [measured(rubric, rule, part)]
            for x in (a.precision, a.recall, a.accuracy)
        ]
        lines.append(f"| `{rule}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def agreement(rubric: Rubric) -> list[tuple[set[str], set[str]]]:
    """For each answer the rules that its label names and the rules that the rubric finds broken."""
    return [
        (labels, set(failed(rubric.check(s.ideal_answer, s))))
        for s, labels in example_answers(EXAMPLE / "transcripts", LABELS)
    ]


def table(rows: list[tuple[set[str], set[str]]]) -> str:
    lines = ["| Rule | Broken | Precision | Recall |", "|---|---|---|---|"]
    for rule in RULES:
        hit = sum(rule in labels and rule in found for labels, found in rows)
        said = sum(rule in found for _, found in rows)
        wrong = sum(rule in labels for labels, _ in rows)
        lines.append(f"| `{rule}` | {wrong} | {hit / said:.2f} | {hit / wrong:.2f} |")
    clean = [found for labels, found in rows if not labels]
    dirty = [found for labels, found in rows if labels]
    lines += [
        "",
        f"Of {len(clean)} answers written to pass, {sum(not f for f in clean)} pass every rule; of {len(dirty)} "
        f"written to break one, {sum(bool(f) for f in dirty)} are caught by some rule.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    rubric = Rubric(Plan(), chat_tokenizer(find_base("builtin:smollm2", Path())))
    print(rules_table(rubric), table(agreement(rubric)), sep="\n\n")
