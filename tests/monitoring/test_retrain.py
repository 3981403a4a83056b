"""When a training is due, and why or why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from joshi.errors import JoshiError
from joshi.export.modelfile import Serving
from joshi.monitoring.drift.verdict import DayVerdict
from joshi.monitoring.retrain import Attempt, _due, due
from joshi.plan import Plan
from joshi.release.releases import Release
from joshi.workspace import Workspace

DEPLOYED = datetime(2026, 3, 1, 12, tzinfo=UTC)
RELEASE = Release(
    id="20260301-120000-0a1b2c3d",
    created_at=DEPLOYED.isoformat(),
    by="ada",
    model="phi4-joshi",
    gguf="releases/20260301-120000-0a1b2c3d/phi4-joshi.gguf",
    model_sha256="0" * 64,
    plan_sha256="0" * 64,
    dataset=None,
    gates=[],
    verdict="pass",
    overrides=[],
    reviewed="reviewed by Ada",
    previous=None,
    serving=Serving("", "", (), 0.2, 0.9, 4096),
)


def day(date: str, verdict: str, release: str = RELEASE.id) -> DayVerdict:
    return DayVerdict(date, release, verdict, "the score fell", (), (), (), ())  # type: ignore[arg-type]


def attempt(at: datetime) -> Attempt:
    return Attempt(at=at, reason="asked for", stages=[], deployed=False, stopped="a gate refused")


@pytest.mark.parametrize(
    ("after", "last", "history", "expected", "says"),
    [
        (29, None, [], False, "end on 2026-03-31"),
        (30, None, [], True, "30 days have passed"),
        (31, 20, [], False, "end on 2026-04-20"),  # the last training counts, even if a gate refused it
        (5, None, [day("2026-03-04", "ok"), day("2026-03-05", "insufficient data")], False, "no drift"),
        (5, None, [day("2026-03-05", "drift")], True, "drift was found on 2026-03-05"),
        (5, 4, [day("2026-03-05", "drift")], False, "since the last training"),  # it answered that drift
        (9, 4, [day("2026-03-05", "drift"), day("2026-03-08", "drift")], True, "2026-03-08"),
        (5, None, [day("2026-03-05", "drift", "20260201-120000-0a1b2c3d")], False, "no drift"),  # of another release
    ],
)
def test_a_training_is_due_by_time_or_by_drift(
    after: int, last: int | None, history: list[DayVerdict], expected: bool, says: str
) -> None:
    before = attempt(DEPLOYED + timedelta(days=last)) if last is not None else None
    found = _due(Plan(), RELEASE, before, history, DEPLOYED + timedelta(days=after))
    assert found.due is expected
    assert says in found.reason


def test_a_clock_that_jumped_back_makes_nothing_due() -> None:
    assert not _due(Plan(), RELEASE, None, [], DEPLOYED - timedelta(days=400)).due


def test_without_a_release_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(JoshiError, match="nothing is deployed"):
        due(Plan(), Workspace(tmp_path), DEPLOYED)
