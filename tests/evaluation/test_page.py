"""The evaluation page: all of the report is on it, nothing hostile runs, nothing is fetched."""

from __future__ import annotations

import copy
import random
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.errors import JoshiError
from joshi.evaluation.page import write_page
from joshi.evaluation.plots import lengths_plot
from joshi.pages import clean
from joshi.pages.numbers import gate_row

RULES = (
    "acknowledgement",
    "no_boilerplate",
    "one_next_step",
    "no_internals",
    "grounded",
    "length",
    "professional",
)
LABELS = {
    "base": "base, agent's prompt",
    "base_with_rules": "base, rules in the prompt",
    "sft": "after SFT",
    "shipped": "shipped, Q4_K_M",
}
HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)> & "quoted" \x1b[31mred\x1b[0m \u202eflipped\u202c'
REPLIES = {
    "base": (
        "Dear Raghav,\n\nI hope this message finds you well. Thank you for reaching out to us regarding the "
        "revision of rates for the M10 bolts. We value our long-standing relationship with Kaveri "
        "Threadworks. We would like to request that you kindly reconsider the price. Please also share the "
        "breakdown, and let us know the lead time, and confirm the payment terms.\n\nBest regards,\nPooja"
    ),
    "base_with_rules": (
        "Thank you for explaining the wire rod increases. Could you share the cost breakdown, and would you "
        "be able to hold the present rate until June?"
    ),
    "sft": "Three rises since Diwali is a lot to carry. What share of the bolt's cost is wire rod today?",
    "shipped": (
        "Absorbing three wire rod increases since Diwali cannot have been comfortable, Raghav. A 12% step is "
        "hard for us without seeing what drives it. What share of the bolt's cost is wire rod today?"
    ),
}
CONTEXT = (
    "Item: 60,000 M10 × 45 hex bolts, grade 8.8, zinc plated\nRound: 1\nSentiment: worried\n\n"
    "Supplier: Respected madam, kindly note that wire rod has gone up three times since Diwali and we have "
    "absorbed all of it. We are now forced to revise the M10 bolt from Rs 7.50 to Rs 8.40 per piece."
)


def likelihood(loss: float) -> dict[str, Any]:
    interval = {"mean": loss, "low": loss - 0.1, "high": loss + 0.1}
    tokens = {"perplexity": 2.7, "tokens": 1500}
    return {
        "heldout": interval | tokens, "general": interval | tokens, "general_rise": interval,
        "general_kinds": {"fiction": loss, "code": loss},
    }  # fmt: skip


def benchmarked(label: str) -> dict[str, Any]:
    half = {"rate": 0.5, "low": 0.4, "high": 0.6}
    return {
        "label": label,
        "tasks": {"tasks": 150, "success": half, "families": {"angry_supplier": half}, "checks": {"takes_up": half}},
        "games": {
            "games": 30, "success": half, "suppliers": {"silent": half}, "over_limit": 3,
            "gain": {"mean": 0.2, "low": 0.1, "high": 0.3}, "agreed": half,
        },
    }  # fmt: skip


def make_report(n: int = 34) -> dict[str, Any]:
    """A report as an evaluation of 34 held-out answers makes it, with hostile text in one answer."""
    chance = random.Random(7)
    typical = {"base": (0.34, 150), "base_with_rules": (0.62, 95), "sft": (0.82, 58), "shipped": (0.9, 52)}

    def rate(passed: float) -> dict[str, float]:
        return {"rate": passed, "low": max(0.0, passed - 0.15), "high": min(1.0, passed + 0.1)}

    systems: dict[str, Any] = {}
    for name, (passes, length) in typical.items():
        values = sorted(min(320, max(8, round(chance.gauss(length, length / 3)))) for _ in range(n))
        systems[name] = {
            "label": LABELS[name],
            "n": n,
            "rules": {rule: rate(min(1.0, max(0.0, passes + chance.uniform(-0.3, 0.2)))) for rule in RULES},
            "all_rules": rate({"base": 0.0, "base_with_rules": 0.147, "sft": 0.53, "shipped": 0.676}[name]),
            "tokens": {
                "p50": values[n // 2],
                "p90": values[n * 9 // 10],
                "p95": values[n * 19 // 20],
                "max": values[-1],
                "values": values,
            },
            "finish": {"stop": n - 4, "length": 3, "empty": 0, "loop": 1},
            "warmth": {"mean": passes, "low": max(0.0, passes - 0.1), "high": min(1.0, passes + 0.1)},
            "bleu": round(chance.uniform(2, 9), 2),
            "toxic": rate(0.03),
            "token_overlap": 0.21,
            "chrf": round(chance.uniform(20, 38), 2),
        }
    steps = list(range(1, 31))
    answers = [
        {
            "id": f"price_rise-{number:02d}:4",
            "instruction": "Do not agree to 12% yet; ask what share of the cost is wire rod.",
            "context": CONTEXT,
            "reference": REPLIES["shipped"],
            "answers": {
                name: {
                    "text": text,
                    "tokens": len(text) // 4,
                    "finish": "stop",
                    "failed": ["no_boilerplate", "one_next_step", "acknowledgement"] if name == "base" else [],
                }
                for name, text in REPLIES.items()
            },
        }
        for number in range(1, 11)
    ]
    answers[1]["answers"]["base"] |= {"text": HOSTILE, "failed": ["professional"]}  # type: ignore[index]
    answers[2]["answers"]["base"] |= {"text": "again" * 150, "finish": "loop", "tokens": 320}  # type: ignore[index]
    answers[3]["answers"]["base"] |= {"text": "", "finish": "empty", "tokens": 0}  # type: ignore[index]
    answers[4]["answers"]["shipped"] |= {"failed": ["grounded", "length"]}  # type: ignore[index]
    answers[5]["answers"]["shipped"] |= {"failed": ["grounded"]}  # type: ignore[index]
    gates = [
        ("p90_tokens", 61, 160, "below", 55, 70, "pass", "90% of answers shorter than 160 tokens"),
        ("all_rules", 0.676, 0.5, "at least", 0.51, 0.81, "pass", "at least 50% of answers follow every rule"),
        (
            "lead_acknowledgement",
            0.21,
            0.0,
            "at least",
            -0.02,
            0.4,
            "insufficient",
            "not behind the base on acknowledgement",
        ),
        ("no_internals", 0.97, 1.0, "at least", 0.85, 0.99, "fail", "no answer names internal matters"),
    ]
    return {
        "model": "phi4-joshi",
        "base": "builtin:smollm2",
        "created_at": "2026-11-22T23:59:00Z",
        "joshi_version": "0.1.0",
        "model_sha256": "3f" * 32,
        "plan_sha256": "a9" * 32,
        "dataset": {
            "name": "phi4_humanization",
            "version": 1,
            "train": 320,
            "validation": 34,
            "preference": 110,
        },
        "reviewed": "not reviewed by a person",
        "verdict": "fail",
        "gates": [
            {
                "name": name,
                "measured": measured,
                "bound": bound,
                "direction": direction,
                "low": low,
                "high": high,
                "n": n,
                "required": name != "lead_acknowledgement",
                "verdict": verdict,
                "text": text,
            }
            for name, measured, bound, direction, low, high, verdict, text in gates
        ],
        "systems": systems,
        "redteam": {
            "attacks": {"n": 50, "leaked": 9, "rate": 0.18, "low": 0.1, "high": 0.29},
            "families": {
                "direct": {"n": 25, "leaked": 9, "rate": 0.36, "low": 0.2, "high": 0.54},
                "sob_story": {"n": 25, "leaked": 0, "rate": 0.0, "low": 0.0, "high": 0.11},
            },
            "secrets": {"direct": {"walk_away": 7, "tool": 2}, "sob_story": {}},
            "disguises": {"verbatim": 9},
            "leaks": [
                {
                    "attack": "direct-001",
                    "turn": 1,
                    "secret": "walk_away",
                    "disguise": "verbatim",
                    "shown": "4.37",
                    "answer": HOSTILE,
                },
            ],
        },
        "likelihood": {
            "base": likelihood(1.0),
            "sft": {"heldout": likelihood(2.0)["heldout"]},
            "shipped": likelihood(3.0),
        },
        "quantisation": {
            "kl": {"mean": 0.031, "low": 0.02, "high": 0.05},
            "agreement": {"mean": 0.93, "low": 0.9, "high": 0.95},
            "rules": {"rate": -0.03, "low": -0.1, "high": 0.05},
            "unquantised_rules": rate(0.7),
            "tokens": 1500,
            "answers": 34,
            "same_answers": 20,
        },
        "benchmark": {
            "systems": {name: benchmarked(LABELS[name]) for name in typical},
            "tasks": [{"id": "angry-01", "message": HOSTILE, "answer": HOSTILE, "failed": ["grounded: says '€4'"]}],
            "games": [
                {
                    "id": "silent-02",
                    "agreed": None,
                    "limit": 4.5,
                    "success": False,
                    "gain": 0.0,
                    "broken": [[]],
                    "talk": [{"role": "supplier", "text": HOSTILE}, {"role": "buyer", "text": "We can offer €4."}],
                }
            ],
        },
        "curves": {
            "sft": {
                "step": steps,
                "loss": [1.4 + 1.8 / step + chance.uniform(0, 0.12) for step in steps],
                "heldout_step": [10, 20, 30],
                "heldout_loss": [1.79, 1.66, 1.64],
                "answers": {
                    "step": [10, 20, 30],
                    "pass_rate": [0.25, 0.75, 0.625],
                    "answer_tokens_p90": [190, 101, 96],
                    "kl": [3.2, 5.1, 6.0],
                    "kept": 20,
                },
            },
            "preference": {
                "step": [1, 2, 3, 4],
                "loss": [0.69, 0.66, 0.61, 0.58],
                "heldout_step": [1, 2, 3, 4],
                "heldout_loss": [1.64, 1.63, 1.63, 1.64],
                "answers": {
                    "step": [1, 4],
                    "pass_rate": [0.7, 0.8],
                    "answer_tokens_p90": [96, 90],
                    "kl": [0.0, 1.1],
                    "kept": 4,
                },
                "accuracy": [0.5, 0.62, 0.78, 0.81],
                "margin": [0.0, 0.08, 0.2, 0.26],
            },
        },
        "length_limit": 180,
        "p90_limit": 160,
        "answers": answers,
    }


class Reader(HTMLParser):
    """What a browser would make of the page: its elements with their attributes, and the text one reads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.hidden = 0
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.hidden += tag in ("style", "svg")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("style", "svg")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.words.append(data)


def render(report: dict[str, Any], folder: Path) -> str:
    target = folder / "reports" / "evaluation" / "index.html"
    write_page(report, target)
    return target.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(make_report(), tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a plan without preference training whose evaluation had too few answers."""
    report = make_report(n=3)
    del report["systems"]["sft"], report["likelihood"]["sft"], report["benchmark"]
    for answer in report["answers"]:
        del answer["answers"]["sft"]
    report["curves"]["preference"] = None
    nothing = {"step": [], "pass_rate": [], "answer_tokens_p90": [], "kl": [], "kept": None}
    report["curves"]["sft"] |= {"heldout_step": [], "heldout_loss": [], "answers": nothing}
    report["verdict"] = report["gates"][0]["verdict"] = "insufficient"
    report["gates"][0] |= {"measured": None, "low": None, "high": None}
    report["systems"]["base"]["rules"]["grounded"] = {"rate": None, "low": None, "high": None}
    report["reviewed"] = "reviewed by two people"
    return render(report, tmp_path_factory.mktemp("bare"))


def svgs(page: str) -> list[ET.Element]:
    return [ET.fromstring(text) for text in re.findall(r"<svg .*?</svg>", page, re.DOTALL)]


def test_nothing_is_fetched_and_nothing_runs(page: str) -> None:
    for tag, attributes in Reader(page).elements:
        assert tag not in {"script", "img", "iframe", "object", "embed", "form", "base", "foreignobject"}
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
    styles = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert "@import" not in styles and "url(" not in styles
    assert "default-src 'none'" in page
    assert "http://" not in page and "https://" not in page


def test_hostile_text_is_shown_as_text(tmp_path: Path, page: str) -> None:
    plain, hostile = make_report(), make_report()
    attack = (
        '</text></svg></title></style><script>alert(1)</script>\' onload="x" {{ 7*7 }} $\\frac{1}{0}$ ]]> &lt; \ud800'
    )
    plain["base"], hostile["base"] = "base", attack
    for report, text in ((plain, "plain"), (hostile, attack)):
        report["systems"]["base"]["label"] = report["gates"][0]["text"] = report["reviewed"] = text
        report["answers"][0] |= {"id": text, "instruction": text, "context": text, "reference": text}
    calm, attacked = Reader(render(plain, tmp_path)), Reader(render(hostile, tmp_path))
    # The plots' shapes may move with the label's length; the page's own elements may not.
    drawn = {"svg", "g", "path", "text", "tspan", "defs", "use", "clippath", "rect"}
    kept = [[tag for tag, _ in reader.elements if tag not in drawn] for reader in (calm, attacked)]
    assert kept[0] == kept[1]
    assert attacked.text.count('<script>alert(1)</script>\' onload="x" {{ 7*7 }}') >= 6
    assert '<script>alert(1)</script><img src=x onerror=alert(2)> & "quoted" red flipped' in Reader(page).text


@given(st.text())
def test_clean_leaves_nothing_that_hides_or_reorders(text: str) -> None:
    cleaned = clean(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", cleaned)
    assert clean(cleaned) == cleaned
    cleaned.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P", "Sm", "Sc", "Zs"], include_characters="\t\n")))
def test_clean_keeps_all_that_one_reads(text: str) -> None:
    assert clean({"key": [text, 1, None]}) == {"key": [text, 1, None]}


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("one\r\ntwo", "one\ntwo"),
        ("pay \u202e0001\u202c now", "pay 0001 now"),
        ("a\u200bb\ufeffc\x00d", "abcd"),
    ],
)
def test_terminal_escapes_and_hidden_letters_go(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


def test_every_system_gate_and_answer_is_shown(page: str) -> None:
    report, text = make_report(), Reader(page).text
    for label in LABELS.values():
        assert text.count(label) >= 1 + len(report["answers"])  # a column and a card for each answer
    for gate in report["gates"]:
        assert gate["text"] in text and gate["name"] in text
    assert "direct 7 · · · 2 · · · 9 of 25 54%" in text
    assert "sob story · · · · · · · · 0 of 25 11%" in text
    assert "68% at least 50% 51% to 81% 34 ✓ pass" in text
    assert "61 below 160 55 to 70 34 ✓ pass" in text
    assert "−2% to 40% 34 ? insufficient advice only" in text
    assert "✗ fail" in text
    for answer in report["answers"]:
        assert answer["id"] in text
    assert text.count("Supplier: Respected madam") == 10
    assert "320 tokens, looping" in text and "no text 0 tokens, empty" in text
    assert "✗ no boilerplate ✗ one next step ✗ acknowledgement" in text
    for rule in RULES:
        assert rule.replace("_", " ") in text
    for value in (
        report["model_sha256"],
        report["plan_sha256"],
        "phi4_humanization version 1",
        report["created_at"],
    ):
        assert value in text
    assert "BLEU and chrF are information only and no gate uses them" in text


def test_the_verdict_comes_first_with_its_reason(page: str, bare: str, tmp_path: Path) -> None:
    assert (
        Reader(page)
        .text.split("Gates")[0]
        .endswith(
            "Evaluation of phi4-joshi against builtin:smollm2 ✗ Fail 1 of 3 required gates failed: "
            "no answer names internal matters. Note: not reviewed by a person. The gates count rules; "
            "whether the answers are good is for a person to say. "
        )
    )
    assert "? Insufficient data 1 of 3 required gates could not be decided" in Reader(bare).text
    assert "Note: " not in Reader(bare).text and "reviewed by two people" in Reader(bare).text
    report = make_report() | {"verdict": "pass"}
    assert "✓ Pass Every required gate passed, on 34 held-out answers." in Reader(render(report, tmp_path)).text


def test_a_plan_without_preference_training_has_no_sft_system_and_one_curve(page: str, bare: str) -> None:
    assert LABELS["sft"] not in bare
    assert "The plan has no preference training." in bare
    assert "Preference: accuracy" in page and "Preference: accuracy" not in bare
    assert "preference accuracy rose from 0.50 to 0.81" in page


def test_what_could_not_be_measured_is_a_dash(bare: str) -> None:
    assert "p90_tokens – below 160 – 3 ? insufficient" in Reader(bare).text
    assert "grounded –" in Reader(bare).text
    assert "no data" in bare


def test_plots_are_named_and_hold_the_rules_the_lines_and_the_colours_of_the_page(page: str) -> None:
    plots = svgs(page)
    assert len(plots) == 6  # three pictures, each for wide and narrow pages
    for plot in plots:
        assert plot.get("role") == "img" and plot.get("aria-label")
        assert not re.search(r"#[0-9a-f]{6}", ET.tostring(plot, encoding="unicode"))
    for plot in plots[:2]:
        labels = {element.text for element in plot.iter("text")}
        assert {rule.replace("_", " ") for rule in RULES} | {"every rule at once", *LABELS.values()} <= labels
    for plot in plots[2:4]:
        assert {"P90 gate: 160", "limit of one answer: 180"} <= {element.text for element in plot.iter("text")}


def test_ids_are_unique_and_every_reference_within_a_plot_is_kept(page: str) -> None:
    ids = [attributes["id"] for _, attributes in Reader(page).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for plot in svgs(page):
        own = {element.get("id") for element in plot.iter()}
        for element in plot.iter():
            named = re.findall(r"#([\w-]+)", (element.get("href") or "") + (element.get("clip-path") or ""))
            assert set(named) <= own


def test_the_same_report_gives_the_same_bytes(page: str, tmp_path: Path) -> None:
    report = make_report()
    before = copy.deepcopy(report)
    with matplotlib.rc_context({"font.size": 40, "axes.grid": True}):  # as a user's matplotlibrc would
        assert render(report, tmp_path) == page
        assert matplotlib.rcParams["font.size"] == 40
    assert report == before


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=40), st.integers(1, 2000), st.integers(1, 2000))
def test_any_lengths_and_limits_can_be_drawn(lengths: list[int], gate: int, limit: int) -> None:
    report = make_report() | {"p90_limit": gate, "length_limit": limit}
    for system in report["systems"].values():
        system["tokens"] |= {"values": lengths}
    assert f"P90 gate: {gate}" in lengths_plot(report).wide


def test_a_page_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JoshiError, match="file"):
        write_page(make_report(), tmp_path / "file" / "index.html")


def test_nats_are_no_shares() -> None:
    gate = {"name": "general_loss", "measured": 0.16, "bound": 0.3, "direction": "below", "low": 0.11, "high": 0.21}
    row = gate_row(gate)
    assert (row["measured"], row["bound"], row["interval"]) == ("0.16", "below 0.30", "0.11 to 0.21")
