"""What other commands measured makes an evaluation from before it stale, so that the gates see it."""

from __future__ import annotations

from pathlib import Path

from joshi.evaluation import STAGE, recorded
from joshi.plan import Plan
from joshi.workspace import Workspace, write_json


def test_a_blind_review_makes_the_evaluation_stale(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert recorded.reports(workspace) == []
    report = workspace.root / "reports" / "review" / "report.json"
    write_json(report, {"model_sha256": "0" * 64, "win_rate": {"rate": 0.6, "low": 0.5, "high": 0.7, "n": 30}})
    assert recorded.reports(workspace) == [report]
    plan = Plan.model_validate({"model": {"base": "builtin:smollm2"}})
    before = STAGE.key(plan, {"model": "1"})
    assert STAGE.key(plan, {"model": "1", workspace.relative(report): "2"}) != before
