"""What reports/drift/report.json holds: the day's verdict, what to do, and the days before in brief."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from joshi import __version__
from joshi.monitoring.drift import cusum
from joshi.monitoring.drift.judge import LIMITS, Settings
from joshi.monitoring.drift.verdict import STREAMS, DayVerdict, in_order, to_json, totals
from joshi.rubric import RULES

SHOWN = 90  # days of history, the latest


def assemble(
    verdict: DayVerdict, history: Sequence[DayVerdict], settings: Settings, *, model: str, created_at: str
) -> dict[str, Any]:
    """report.json as a plain dict: `to_json(verdict)`, and what the page shows besides.

    Args:
        history: any days in any order; one of `verdict`'s own date is replaced by it.
        created_at: ISO 8601.
    """
    days = in_order([*history, verdict], verdict.release)
    sums = {stream: totals(days, stream, LIMITS[stream]) for stream in STREAMS}
    return to_json(verdict) | {
        "model": model,
        "created_at": created_at,
        "joshi_version": __version__,
        "settings": {
            "threshold": settings.threshold,
            "level": settings.level,
            "permutations": settings.permutations,
            "seed": settings.seed,
            "score_reference": cusum.SCORE_REFERENCE,
            "tests_reference": cusum.TESTS_REFERENCE,
        },
        "next": steps(verdict, settings.level),
        "history": [
            _brief(one, {stream: sums[stream][place] / LIMITS[stream] for stream in STREAMS})
            for place, one in enumerate(days)
        ][-SHOWN:],
    }


def steps(verdict: DayVerdict, level: float) -> list[str]:
    """What a person does next, the first thing first."""
    if verdict.verdict == "ok":
        return ["Nothing. The check runs again tomorrow."]
    if verdict.verdict == "insufficient data":
        return [
            "See that the model answers: run “joshi smoke”.",
            "If it does, ask more probes, or each of them more often; the figures needed stand above.",
        ]
    first = [
        "Read today's answers beside those of the release, worst rule first: figures say that they differ, not whether "
        "that is bad.",
    ]
    if _probes_moved(verdict, level):
        return [
            *first,
            "The probes are the same as at release, so the model or how it is served has changed. Compare the file's "
            "sha256, the system prompt, the template and the sampling with what the release records: “joshi releases”.",
            "If the release was good and what is served is not it, go back to it: “joshi rollback”.",
        ]
    return [
        *first,
        "The probes are answered as at release, so it is the messages in production that have changed, not the model: "
        "new suppliers, other topics, another language.",
        "Curate and approve such conversations and train anew; until then, a person reads the answers to them.",
    ]


def _probes_moved(verdict: DayVerdict, level: float) -> bool:
    """Whether the probes are part of the alarm: their score's sum is over, or a test of theirs stands out."""
    if any(one.alarm for one in verdict.sums if one.stream == "probes"):
        return True
    return any(one.source == "probes" and one.adjusted is not None and one.adjusted <= level for one in verdict.tests)


def _brief(one: DayVerdict, sums: dict[Any, float]) -> dict[str, Any]:
    """A day of the history: scores, shares of the sums' limits, pass rates."""
    return {
        "day": one.day,
        "verdict": one.verdict,
        "scores": {
            score.source: {
                "before": score.before,
                "today": score.today,
                "low": score.low,
                "high": score.high,
                "threshold": score.threshold,
                "alarm_below": score.alarm_below,
            }
            for score in one.scores
        },
        "sums": sums,
        "rules": {
            source: {
                test.name: {"before": test.moved.before, "today": test.moved.today}
                for test in one.tests
                if test.source == source and test.name in RULES and test.moved is not None
            }
            for source in {test.source: None for test in one.tests}
        },
    }
