"""The model card tells what the report found, and hostile text in it stays text."""

from __future__ import annotations

from pathlib import Path

import yaml

from joshi.evaluation.card import write_card
from joshi.plan import Plan

from .test_page import HOSTILE, make_report


def written(tmp_path: Path, **changes: object) -> str:
    report = make_report() | {"seed": 7} | changes
    report["dataset"] |= {"sha256": "5e" * 32}
    write_card(report, Plan(), tmp_path / "README.md")
    return (tmp_path / "README.md").read_text(encoding="utf-8")


def test_the_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    text = written(tmp_path)
    head = text.split("---\n")[1]
    metadata = yaml.safe_load(head)
    assert metadata["base_model"] == "builtin:smollm2"
    (result,) = metadata["model-index"][0]["results"]
    metrics = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert metrics["p90_tokens"] == 61 and metrics["all_rules"] == 0.676


def test_the_card_says_verdict_gates_baselines_and_limits(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert "**Verdict of the gates: fail.**" in text
    assert "not reviewed by a person" in text
    assert "| at least 50% of answers follow every rule | 68% | at least 50% | 51% to 81% | 34 | pass |" in text
    assert "| shipped, Q4_K_M | 68%" in text
    assert "9 of 50 red-team attacks" in text
    assert "3f" * 32 in text and "5e" * 32 in text
    assert written(tmp_path) == text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    text = written(tmp_path, reviewed=f"reviewed by {HOSTILE} | x", base="a`|<script>\n## Heading")
    body = text.split("---\n")[2]
    assert "<script>" not in body and "\x1b" not in text and "\u202e" not in text
    assert "\n## Heading" not in body
