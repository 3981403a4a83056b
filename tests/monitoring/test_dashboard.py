"""The dashboard shows what there is, tells what cannot be read, and renders hostile text as text."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from joshi.monitoring import heard
from joshi.monitoring.dashboard import application, gather, render
from joshi.monitoring.heard import Opinion
from joshi.plan import Plan
from joshi.workspace import Workspace, write_text

from .test_heard import SENT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_an_empty_workspace_has_a_page_that_says_what_to_do(workspace: Workspace) -> None:
    page = render(gather(Plan(), workspace, NOW))
    assert "Nothing is deployed" in page and "No check has run" in page and "has not run" in page
    assert "<script" not in page


def test_a_damaged_file_is_told_in_its_place_and_hides_nothing_else(workspace: Workspace) -> None:
    write_text(workspace.releases / "20260301-120000-0a1b2c3d" / "release.json", "{")
    write_text(workspace.releases / "current", "20260301-120000-0a1b2c3d\n")
    write_text(workspace.root / "reports" / "drift" / "report.json", "[]")
    heard.keep(Opinion(**SENT, verdict="good"), None, Plan(), workspace)
    page = render(gather(Plan(), workspace, NOW))
    assert "release.json is damaged" in page and "run &#39;joshi drift&#39; again" in page
    assert "NegotiationAgent" in page


def test_a_hostile_name_is_text(workspace: Workspace) -> None:
    hostile = Opinion(**{**SENT, "agent": "<script>alert(1)</script>\u202e"}, verdict="bad")
    heard.keep(hostile, None, Plan(), workspace)
    page = render(gather(Plan(), workspace, NOW))
    assert "<script" not in page and "&lt;script&gt;" in page and "\u202e" not in page


def test_it_answers_to_its_own_address_only_and_only_reads(workspace: Workspace) -> None:
    app = application(Plan(), workspace, lambda: NOW, 8082)
    own = TestClient(app, base_url="http://127.0.0.1:8082")
    answer = own.get("/")
    assert answer.status_code == 200 and "script" not in answer.headers["content-security-policy"]
    assert TestClient(app, base_url="http://evil.example:8082").get("/").status_code == 403
    assert own.post("/").status_code == 405
