"""Accounts: tokens are shown once and kept as hashes, log-ins end, guessing is slowed down."""

from __future__ import annotations

import pytest

from joshi.errors import JoshiError
from joshi.review import accounts
from joshi.review.store import Store
from joshi.workspace import Workspace

from .conftest import START, Clock, Enter


def test_neither_token_nor_cookie_is_in_the_database(store: Store, workspace: Workspace) -> None:
    with store.writing() as connection:
        token = accounts.add(connection, "Ana", "annotator", START)
        cookie = accounts.log_in(connection, token, 1, "here", START)
    assert cookie
    files = [path.read_bytes() for path in workspace.private.glob("joshi.db*")]
    assert files
    assert not any(secret.encode() in content for secret in (token, cookie) for content in files)


def test_a_log_in_ends_with_its_hours_and_with_the_account(store: Store, clock: Clock) -> None:
    with store.writing() as connection:
        token = accounts.add(connection, "Ana", "specialist", clock())
        cookie = accounts.log_in(connection, token, 2, "here", clock())
        assert cookie
        who = accounts.who(connection, cookie, clock())
        assert who
        assert (who.name, who.role) == ("Ana", "specialist")
        clock.pass_(hours=2)
        assert accounts.who(connection, cookie, clock()) is None
        again = accounts.log_in(connection, token, 2, "here", clock())
        assert again
        accounts.remove(connection, "Ana", clock())
        assert accounts.who(connection, again, clock()) is None
        assert accounts.log_in(connection, token, 2, "here", clock()) is None
        assert accounts.add(connection, "Ana", "annotator", clock()) != token


@pytest.mark.parametrize("name", ["", " Ana", "a" * 65, "Ana\n", "<b>", "\u202eana"])
def test_names_that_will_not_do(store: Store, name: str) -> None:
    with pytest.raises(JoshiError, match="is no name for a reviewer"), store.writing() as connection:
        accounts.add(connection, name, "annotator", START)


def test_two_reviewers_never_differ_in_capitals_alone(store: Store) -> None:
    with store.writing() as connection:
        accounts.add(connection, "Ana", "annotator", START)
        with pytest.raises(JoshiError, match="Ana is a reviewer already"):
            accounts.add(connection, "ANA", "annotator", START)


def test_guessing_is_slowed_down_and_a_minute_later_goes_on(store: Store, clock: Clock) -> None:
    with store.writing() as connection:
        token = accounts.add(connection, "Ana", "annotator", clock())
        for _ in range(accounts.MOST_FAILURES):
            assert accounts.log_in(connection, "wrong", 1, "there", clock()) is None
        with pytest.raises(accounts.TooManyAttempts):
            accounts.log_in(connection, token, 1, "there", clock())
        assert accounts.log_in(connection, token, 1, "elsewhere", clock())
        clock.pass_(seconds=61)
        assert accounts.log_in(connection, token, 1, "there", clock())


def test_the_page_says_when_to_come_back(enter: Enter) -> None:
    browser = enter("Ana")
    browser.cookies.clear()
    for _ in range(accounts.MOST_FAILURES):
        browser.post("/login", token="guess")
        assert browser.status == 403
    browser.post("/login", token="guess")
    assert (browser.status, browser.headers["retry-after"]) == (429, "60")
