"""The blind review's page in a real browser: it fits at 1280 and 400 px, light and dark, and fetches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from joshi.plan import Plan
from joshi.review.blind.report import write
from joshi.workspace import Workspace

from ..review.blind_reviews import drawn
from .test_report_page import browser as browser

HOSTILE = "<script>document.title = 'taken'</script><b>Ana</b>" + "x" * 300


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("reviewed"))
    judgements = drawn(1, reviewers=(HOSTILE, "Raj"))
    write(judgements, Plan(), workspace, model_sha256="3f" * 32, baseline="base, rules in the prompt " * 4)
    return workspace.root / "reports" / "review" / "index.html"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_the_page_fits_and_fetches_nothing(browser: Browser, page_file: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (requests, messages) == ([page_file.as_uri()], [])
    assert page.locator("script").count() == 0 and page.locator("b").count() == 0
    assert "blind review of phi4-joshi" in page.title()
    assert page.locator("svg:visible").count() == 3
    assert page.get_by_text(HOSTILE).count() == 1  # as a name, not as markup
    page.close()
