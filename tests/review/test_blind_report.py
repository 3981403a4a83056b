"""The blind review's report: what the gate reads, what becomes of odd reviews, and the page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.errors import JoshiError
from joshi.evaluation.gates import judge, verdict
from joshi.evaluation.measured import recorded_gates
from joshi.evaluation.recorded import blind_review
from joshi.plan import Plan
from joshi.review.blind.comparisons import compare
from joshi.review.blind.judgement import SCORES, Judgement
from joshi.review.blind.page import write_page
from joshi.review.blind.preference import preference
from joshi.review.blind.report import assemble, write
from joshi.workspace import Workspace, sha256_file

from .blind_reviews import drawn, judgement, review

PLAN = Plan()
SHA256 = "3f" * 32
HOSTILE = (
    '<script>alert(1)</script><img src=x onerror=alert(2)> & "quoted" {{ 7*7 }} \x1b[31mred\x1b[0m \u202eflipped\u202c'
)


def report_of(judgements: list[Judgement], plan: Plan = PLAN) -> dict[str, Any]:
    return assemble(judgements, plan, model_sha256=SHA256, baseline="base_with_rules")


def page_of(report: dict[str, Any], folder: Path) -> str:
    write_page(report | {"created_at": "2026-11-26T10:00:00Z", "joshi_version": "0.1.0"}, folder / "index.html")
    return (folder / "index.html").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """The elements of a page with their attributes, and what can be read on it."""

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
        return " ".join(" ".join(self.parts).split())


# What the gate reads


@pytest.fixture
def shipped(tmp_path: Path) -> tuple[Workspace, str]:
    workspace = Workspace(tmp_path)
    model = workspace.model(PLAN.model.name)
    model.parent.mkdir(parents=True)
    model.write_bytes(b"GGUF of a kind")
    return workspace, sha256_file(model)


def test_the_gate_reads_wins_with_ties_as_half_of_the_very_file(shipped: tuple[Workspace, str]) -> None:
    workspace, model_sha256 = shipped
    write(review(16, 6, 8), PLAN, workspace, model_sha256=model_sha256, baseline="base_with_rules")
    found = blind_review(PLAN, workspace)
    assert found is not None
    assert (found["rate"], found["n"]) == (pytest.approx((16 + 3) / 30), 30)
    assert 0 < found["low"] < found["rate"] < found["high"] < 1
    rows = judge(recorded_gates(None, found), PLAN)
    (row,) = [row for row in rows if row["name"] == "human_review"]
    saved = json.loads((workspace.root / "reports" / "review" / "report.json").read_text(encoding="utf-8"))
    assert saved["gate"] == row
    assert (row["verdict"], row["low"], row["required"]) == ("pass", found["low"], False)
    workspace.model(PLAN.model.name).write_bytes(b"another")
    assert blind_review(PLAN, workspace) is None


@pytest.mark.parametrize(
    ("wins", "ties", "losses", "gate", "said"),
    [
        (24, 0, 6, "pass", "shipped"),
        (16, 0, 14, "pass", "undecided"),  # the share reaches its bound, and shows no preference
        (15, 0, 15, "pass", "undecided"),
        (14, 0, 16, "fail", "undecided"),
        (5, 0, 25, "fail", "baseline"),
        (0, 30, 0, "pass", "undecided"),
        (29, 0, 0, "insufficient", "insufficient"),
        (0, 0, 0, "insufficient", "insufficient"),
    ],
)
def test_gate_and_verdict(wins: int, ties: int, losses: int, gate: str, said: str) -> None:
    found = report_of(review(wins, ties, losses))
    assert (found["gate"]["verdict"], found["verdict"]) == (gate, said)
    required = Plan.model_validate({"evaluation": {"gates": {"human_review": {"required": True}}}})
    rows = [row for row in judge(recorded_gates(None, found["win_rate"]), required) if row["name"] == "human_review"]
    assert verdict(rows) == gate


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_ties_as_half_and_ties_left_out_lie_on_one_side_of_one_half(wins: int, ties: int, losses: int) -> None:
    found = preference(compare(review(wins, ties, losses)))
    if wins + losses:
        assert (found["win_rate"]["rate"] >= 0.5) == (found["decided"]["exact"]["rate"] >= 0.5)
    assert (found["decided"]["n"], found["win_rate"]["n"]) == (wins + losses, wins + ties + losses)


def test_the_plans_minimum_decides_what_is_enough() -> None:
    plan = Plan.model_validate({"evaluation": {"gates": {"human_review": {"minimum": 10}}}})
    assert report_of(review(10, 0, 0), plan)["verdict"] == "shipped"
    assert report_of(review(9, 0, 0), plan)["verdict"] == "insufficient"
    assert report_of(review(10, 0, 0))["verdict"] == "insufficient"


def test_repeats_never_count_in_the_win_rate() -> None:
    once = review(20, 4, 6)
    again = [one.model_copy(update={"repeat": True, "preferred": "baseline"}) for one in once[:3]]
    alone, repeated = report_of(once), report_of(once + again)
    for key in ("win_rate", "decided", "samples", "scores", "mentions_internals", "agreement", "power", "reviewed"):
        assert repeated[key] == alone[key], key
    assert (repeated["repeats"]["n"], repeated["repeats"]["reversed"]) == (3, 3)


def test_a_second_reviewer_makes_no_second_sample() -> None:
    both = report_of([*review(20, 0, 10), *review(20, 0, 10, "Raj")])
    alone = report_of(review(20, 0, 10))
    assert both["win_rate"] == alone["win_rate"] and both["decided"] == alone["decided"]
    assert both["reviewed"]["judgements"] == 60
    assert both["agreement"]["preferred"]["alpha"] == pytest.approx(1.0)


def test_samples_of_one_conversation_widen_the_interval() -> None:
    talks = [judgement(f"talk-{n % 10}/{n}", "shipped" if n % 10 < 7 else "baseline") for n in range(30)]
    found = report_of(talks)["decided"]
    assert found["exact"]["low"] > 0.5 > found["clustered"]["low"]  # 21 of 30, but 7 of 10 conversations
    assert report_of(talks)["verdict"] == "undecided"


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.randoms())
def test_the_order_of_judgements_does_not_matter(seed: int, random) -> None:  # type: ignore[no-untyped-def]
    judgements = drawn(seed, conversations=7, reviewers=("Ana", "Raj", "Mei"))
    shuffled = random.sample(judgements, len(judgements))
    assert report_of(shuffled) == report_of(judgements)


# Odd reviews

ODD = {
    "none": [],
    "all ties": review(0, 30, 0),
    "all won": review(30, 0, 0),
    "one sample": review(1, 0, 0),
    "one reviewer": drawn(2, reviewers=("Ana",)),
    "one conversation": drawn(3, conversations=1),
    "the same score for all": [judgement(f"t-{n}/1", "tie", shipped=3, baseline=3) for n in range(30)],
    "repeats alone": [judgement(f"t-{n}/1", repeat=True) for n in range(4)],
    "divided": [*review(30, 0, 0), *review(0, 0, 30, "Raj")],
    "many": drawn(4, n=120, conversations=40, reviewers=("Ana", "Raj", "Mei")),
}


@pytest.mark.parametrize("name", ODD)
def test_every_review_has_a_report_and_a_page(name: str, tmp_path: Path) -> None:
    found = report_of(ODD[name])
    json.dumps(found, allow_nan=False)  # not a number is no JSON
    for rate in (found["win_rate"], found["decided"]["exact"], found["decided"]["clustered"]):
        assert 0 <= rate["low"] <= rate["rate"] <= rate["high"] <= 1
    assert not re.search(r"\b(nan|None|inf)\b", Reader(page_of(found, tmp_path)).text)
    assert found["verdict"] == ("shipped" if name in ("all won", "many") else found["verdict"])


def test_what_odd_reviews_are_told() -> None:
    assert report_of(ODD["divided"])["samples"] == {"shipped": 0, "tie": 30, "baseline": 0, "split": 30}
    assert report_of(ODD["divided"])["agreement"]["preferred"]["alpha"] < 0
    assert report_of(ODD["all ties"])["power"]["detectable"] is None
    assert report_of(ODD["all ties"])["power"]["needed"][0]["samples"] is None
    assert report_of(ODD["one conversation"])["decided"]["clustered"]["effective_n"] == 1.0
    assert report_of(ODD["repeats alone"])["repeats"]["without_first"] == 4


def test_a_sample_judged_twice_stops_the_report_and_leaves_the_last_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write(review(20, 0, 10), PLAN, workspace, model_sha256=SHA256, baseline="base")
    before = {path.name: path.read_bytes() for path in (tmp_path / "reports" / "review").iterdir()}
    with pytest.raises(JoshiError, match="twice"):
        write([*review(20, 0, 10), judgement("talk-1/1")], PLAN, workspace, model_sha256=SHA256, baseline="base")
    assert {path.name: path.read_bytes() for path in (tmp_path / "reports" / "review").iterdir()} == before
    assert sorted(before) == ["index.html", "report.json"]


# What the evaluation knows


def evaluated(workspace: Workspace, model_sha256: str, lengths: dict[str, tuple[int, int]]) -> None:
    folder = workspace.evaluation_report
    folder.mkdir(parents=True)
    systems = {"shipped": {"label": "shipped, Q4_K_M"}, "base_with_rules": {"label": "base, rules in the prompt"}}
    (folder / "report.json").write_text(json.dumps({"model_sha256": model_sha256, "systems": systems, "gates": []}))
    answers = [
        {"id": item, "context": "", "answers": {"shipped": {"tokens": a}, "base_with_rules": {"tokens": b}}}
        for item, (a, b) in lengths.items()
    ]
    (folder / "answers.json").write_text(json.dumps(answers))


def written(workspace: Workspace) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (workspace.root / "reports" / "review" / "report.json").read_text(encoding="utf-8")
    )
    return found


def test_lengths_are_compared_where_the_evaluation_is_of_the_same_file(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    # 30 samples: the shipped answer is shorter in 20, longer in 5, as long in 5; it wins the first 22
    lengths = {f"talk-{n}/1": (40, 90) if n < 20 else (90, 40) if n < 25 else (50, 50) for n in range(30)}
    evaluated(workspace, SHA256, lengths)
    write(review(22, 2, 6), PLAN, workspace, model_sha256=SHA256, baseline="base_with_rules")
    found = written(workspace)
    assert found["baseline_label"] == "base, rules in the prompt"
    told = found["length"]
    assert (told["n"], told["longer_preferred"]["count"]) == (23, 2)  # two ties and five of equal length are left out
    assert (told["shipped_shorter"]["wins"], told["shipped_shorter"]["n"]) == (20, 20)
    assert (told["shipped_longer"]["wins"], told["shipped_longer"]["n"]) == (2, 3)
    page = Reader((tmp_path / "reports" / "review" / "index.html").read_text(encoding="utf-8")).text
    assert "Was it the length?" in page and "won 20 of 20 where its answer was the shorter one" in page
    write(review(22, 2, 6), PLAN, workspace, model_sha256="00" * 32, baseline="base_with_rules")
    assert (written(workspace)["length"], written(workspace)["baseline_label"]) == (None, "base_with_rules")


def test_an_evaluation_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    evaluated(workspace, SHA256, {})
    (workspace.evaluation_report / "answers.json").write_text("[{")
    with pytest.raises(JoshiError, match=r"answers\.json beside it cannot be read: .*; run 'joshi evaluate' again"):
        write(review(20, 0, 10), PLAN, workspace, model_sha256=SHA256, baseline="base_with_rules")


# The page


def test_names_are_escaped_and_nothing_runs_or_is_fetched(tmp_path: Path) -> None:
    calm = [*review(20, 0, 10), *review(19, 0, 11, "Raj")]
    hostile = [*review(20, 0, 10, HOSTILE), *review(19, 0, 11, "Raj")]
    plain = Reader(page_of(report_of(calm), tmp_path))
    text = page_of(assemble(hostile, PLAN, model_sha256=SHA256, baseline=HOSTILE), tmp_path)
    attacked = Reader(text)
    drawing = {"svg", "g", "path", "text", "tspan", "defs", "use", "clippath", "rect"}
    kept = [[tag for tag, _ in reader.elements if tag not in drawing] for reader in (plain, attacked)]
    assert kept[0] == kept[1]
    assert '<script>alert(1)</script><img src=x onerror=alert(2)> & "quoted" {{ 7*7 }} red flipped' in attacked.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    for tag, attributes in attacked.elements:
        assert tag not in ("script", "img", "iframe", "object", "embed", "form", "base")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "default-src 'none'" in text


def test_the_page_tells_the_verdict_first_and_the_figures_of_the_report(tmp_path: Path) -> None:
    found = report_of([*review(21, 3, 6), *[one.model_copy(update={"repeat": True}) for one in review(3, 0, 0)]])
    text = Reader(page_of(found, tmp_path)).text
    assert "Blind review of phi4-joshi against base_with_rules ✓ The shipped model is preferred People pref" in text
    assert "preferred the shipped model in 21 of 27 decided samples (78%), with 3 ties." in text
    assert "so clear a result would turn up in 6 of 1,000 such reviews" in text
    assert "✓ pass , 75% with ties as half; it asks for at least 50% of 30 samples or more, as advice only." in text
    assert (
        "decided samples, by conversation samples of one conversation resemble each other 21 of 27 78% 58% to 91% 0.006"
        in text
    )
    assert "27 decided samples call a preference from 20 wins on." in text and "truly wins 79% or more" in text
    assert "Not known: no sample was judged by two reviewers." in text
    assert "3 samples came round a second time; 0 went from one system to the other." in text
    for score in ("Tone", "Grounding", "Actionable next step"):
        assert f"{score} 4.00 3.00 +1.00 +1.00 to +1.00 30 of 30 < 0.001" in text
    assert "Ana 21 3 6" in text


@pytest.mark.parametrize(
    ("judged", "headline", "reason"),
    [
        (review(5, 0, 25), "The baseline is preferred", "in 5 of 30 decided samples (17%), with 0 ties."),
        (review(16, 2, 14), "No preference shown", "may be anything from 34% to 72%, so neither is shown"),
        (review(0, 30, 0), "No preference shown", "All 30 samples were ties"),
        (
            review(12, 0, 0),
            "Insufficient data",
            "12 samples compared, and the plan asks for at least 30: review 18 more",
        ),
        ([], "Insufficient data", "Nothing has been judged yet; the plan asks for 30 samples."),
    ],
)
def test_other_verdicts_in_words(judged: list[Judgement], headline: str, reason: str, tmp_path: Path) -> None:
    text = Reader(page_of(report_of(judged), tmp_path)).text
    assert headline in text and reason in text


def test_agreement_of_several_reviewers_is_told_in_words(tmp_path: Path) -> None:
    alike = [*review(20, 5, 5), *review(20, 5, 5, "Raj")]
    text = Reader(page_of(report_of(alike), tmp_path)).text
    assert "30 samples were judged by several of 2 reviewers. On which answer is better: they can be relied on." in text
    assert "which is better 1.00 1.00 to 1.00 30" in text
    assert "Tone 1.00 1.00 to 1.00 60" in text
    assert "mentions internal matters – – 60" in text  # all said no
    apart = Reader(page_of(report_of(drawn(5)), tmp_path)).text
    assert "too little to rely on one reviewer's word" in apart
    assert "With fewer than 20 shared samples the intervals are too narrow." in apart


def test_plots_take_the_pages_colours_and_ids_are_unique(tmp_path: Path) -> None:
    page = page_of(report_of(drawn(6)), tmp_path)
    ids = [attributes["id"] for _, attributes in Reader(page).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    plots = re.findall(r"<svg .*?</svg>", page, re.S)
    assert len(plots) == 6  # three pictures, each for wide and narrow pages
    for plot in plots:
        assert 'role="img"' in plot and "aria-label=" in plot
        assert not re.search(r"#[0-9a-f]{6}", plot)


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert page_of(report_of(drawn(7)), tmp_path / "one") == page_of(report_of(drawn(7)), tmp_path / "two")


def test_scores_of_the_report_are_those_of_its_judgements() -> None:
    judgements = drawn(8)
    found = report_of(judgements)["scores"]
    for score in SCORES:
        given_scores = [one.scores["shipped"][score] for one in judgements if not one.repeat]
        assert found[score]["shipped"]["counts"] == [given_scores.count(value) for value in range(1, 6)]
