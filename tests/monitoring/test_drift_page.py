"""The drift page: the verdict first, all of the day on it, nothing hostile runs, nothing is fetched."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joshi.errors import JoshiError
from joshi.monitoring.drift.judge import Baseline, Settings, Today, judge_day
from joshi.monitoring.drift.page import row, write_page
from joshi.monitoring.drift.report import SHOWN, assemble
from joshi.monitoring.drift.verdict import DayVerdict
from joshi.rubric import RULES

from .answers import draw, probes, talks

HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} \x1b[31mred\x1b[0m \u202e"
QUICK = Settings(permutations=199)
FIRST = date(2026, 3, 1)


def course(kept: list[float], production: bool = True) -> list[DayVerdict]:
    rng = np.random.default_rng(3)
    known = Baseline("2026-02-27-a1", draw(probes(22, 5), rng, 0.97), draw(talks(200), rng, 0.97))
    history: list[DayVerdict] = []
    for number, share in enumerate(kept):
        now = draw(probes(22, 3), rng, share)
        sent = draw(talks(80), rng, share) if production else None
        history.append(judge_day(known, Today(FIRST + timedelta(days=number), now, sent), history, QUICK))
    return history


WELL = course([0.97] * 5)
ILL = course([0.97] * 4 + [0.8])
FEW = judge_day(
    Baseline("2026-02-27-a1", draw(probes(22, 5), np.random.default_rng(3), 0.97), None),
    Today(FIRST + timedelta(days=5), draw(probes(4, 1), np.random.default_rng(3), 0.97), None),
    WELL,
    QUICK,
)


def report(days: list[DayVerdict], model: str = "phi4-joshi") -> dict[str, Any]:
    return assemble(days[-1], days[:-1], QUICK, model=model, created_at="2026-03-06T06:00:00Z")


def render(content: dict[str, Any], folder: Path) -> str:
    write_page(content, folder / "index.html")
    return (folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ill(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(report(ILL), tmp_path_factory.mktemp("ill"))


class Reader(HTMLParser):
    """The page's elements and its text as one reads it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.parts))


@pytest.mark.parametrize(
    ("days", "headline"), [(WELL, "✓ No drift"), (ILL, "✗ Drift"), ([*WELL, FEW], "? Insufficient data")]
)
def test_the_verdict_comes_first_with_its_reason_and_what_to_do(
    days: list[DayVerdict], headline: str, tmp_path: Path
) -> None:
    text = Reader(render(report(days), tmp_path)).text
    assert text.index(headline) < text.index(days[-1].reason) < text.index("What to do next")
    for step in report(days)["next"]:
        assert step in text


def test_every_test_and_sum_of_the_day_is_shown(ill: str) -> None:
    text = Reader(ill).text
    for name in ("empathy score", "length, in tokens", "what is said", *(rule.replace("_", " ") for rule in RULES)):
        assert text.count(name) >= 2  # on the probes and in production
    for one in ILL[-1].tests:
        assert one.sentence in text
    for name in ("score on the probes", "score in production", "all tests"):
        assert name in text
    assert "✗ above" in text and "66 / 110" in text and "80 / 200" in text
    assert "phi4-joshi on 2026-03-05 against its release 2026-02-27-a1" in text


def test_nothing_runs_and_nothing_is_fetched(ill: str) -> None:
    reader = Reader(ill)
    assert not {"script", "iframe", "object", "embed", "form", "base", "img"} & {tag for tag, _ in reader.elements}
    for _, attributes in reader.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))
    assert "default-src 'none'" in ill and "http://" not in ill and "https://" not in ill


def test_hostile_names_are_shown_as_text(ill: str, tmp_path: Path) -> None:
    named = [replace(one, release=HOSTILE, reason=HOSTILE) for one in ILL]
    calm, attacked = Reader(ill), Reader(render(report(named, HOSTILE), tmp_path))
    assert [tag for tag, _ in attacked.elements] == [tag for tag, _ in calm.elements]
    assert attacked.text.count("<script>alert(1)</script>") >= 4 and "{{ 7*7 }} red" in attacked.text


def test_the_same_report_gives_the_same_bytes_and_is_left_as_it_was(ill: str, tmp_path: Path) -> None:
    content = report(ILL)
    before = copy.deepcopy(content)
    assert render(content, tmp_path) == ill
    assert content == before


def test_plots_carry_names_and_ids_that_are_unique(ill: str) -> None:
    reader = Reader(ill)
    plots = [attributes for tag, attributes in reader.elements if tag == "svg"]
    assert len(plots) == 6 and all(one.get("role") == "img" and one.get("aria-label") for one in plots)
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"at release", "threshold", "limit"} <= {part.strip() for part in reader.parts}


@pytest.mark.parametrize("days", [[FEW], course([0.97], production=False)])
def test_short_and_partial_histories_can_be_drawn(days: list[DayVerdict], tmp_path: Path) -> None:
    page = render(report(days), tmp_path)
    assert ("Day by day" in page) == any(one.scores for one in days)


def test_the_history_is_each_days_once_by_date_and_no_longer_than_is_shown() -> None:
    many = [replace(WELL[0], day=(FIRST - timedelta(days=n)).isoformat()) for n in range(150)]
    days = assemble(WELL[-1], [*many, *WELL, *WELL], QUICK, model="m", created_at="")["history"]
    assert len(days) == SHOWN and days[-1]["day"] == WELL[-1].day
    assert [day["day"] for day in days] == sorted({day["day"] for day in days})


def test_what_to_do_depends_on_whether_the_probes_moved() -> None:
    assert any("joshi rollback" in step for step in report(ILL)["next"])
    rng = np.random.default_rng(4)
    known = Baseline("r", draw(probes(22, 5), rng, 0.97), draw(talks(200), rng, 0.97))
    now = Today(FIRST, draw(probes(22, 3), rng, 0.97), draw(talks(80), rng, 0.75))
    found = judge_day(known, now, [], QUICK)
    assert found.verdict == "drift"
    assert any("it is the messages in production that have changed" in step for step in report([found])["next"])


def test_figures_are_told_in_their_own_units() -> None:
    tests = {(one["name"], one["source"]): row(one, 0.05) for one in report(ILL)["tests"]}
    assert re.fullmatch(r"\d+%", tests["grounded", "probes"]["today"])
    assert re.fullmatch(r"[+−]?\d+ to [+−]?\d+", tests["grounded", "probes"]["interval"])
    assert re.fullmatch(r"\d+", tests["tokens", "probes"]["today"])
    assert re.fullmatch(r"0\.\d\d", tests["score", "production"]["today"])
    told = {key for key, one in tests.items() if one["adjusted"] == "told only"}
    assert told == {("kernel", "probes"), *((name, "production") for name in ("tokens", "meaning", "kernel"))}


def test_a_page_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JoshiError, match="file"):
        write_page(report([FEW]), tmp_path / "file" / "index.html")
