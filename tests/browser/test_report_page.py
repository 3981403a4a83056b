"""The evaluation report in a real browser: readable at 1280 and 400 px, self-contained, no script."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from joshi.evaluation.page import write_page

from ..evaluation.test_page import make_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_fetches_nothing(browser: Browser, tmp_path: Path, width: int, scheme: str) -> None:
    target = tmp_path / "index.html"
    write_page(make_report(), target)
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.goto(target.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert requests == [target.as_uri()]
    assert messages == []
    assert page.locator("script").count() == 0
    headings = page.locator("h1, h2").all_inner_texts()
    assert len(headings) >= 5
    assert page.locator("svg:visible").count() >= 2
    page.close()


def test_answers_are_filtered_by_the_rule_that_the_shipped_model_broke(browser: Browser, tmp_path: Path) -> None:
    target = tmp_path / "index.html"
    write_page(make_report(), target)
    page = browser.new_page()
    page.goto(target.as_uri())
    answers = page.locator(".answer:visible")
    assert answers.count() == 10
    page.get_by_label("broke grounded (2)").check()
    assert answers.count() == 2
    page.get_by_label("broke length (1)").check()
    assert answers.count() == 1
    page.get_by_label("wrote anything").check()
    assert answers.count() == 10
    page.close()
