"""What every page needs: the store, the plan, the rubric, the clock; who asks; how a page is made."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment

from joshi.errors import JoshiError
from joshi.pages import templates
from joshi.plan import Plan
from joshi.review import accounts
from joshi.review.log import Who
from joshi.review.progress import Count
from joshi.review.queue import Item
from joshi.review.store import Store
from joshi.review.web import text
from joshi.rubric import RULES, Rubric
from joshi.workspace import Workspace

COOKIE = "joshi_review"
RULE_NAMES = {
    "acknowledgement": "Acknowledges the supplier",
    "no_boilerplate": "No formulas",
    "one_next_step": "One next step",
    "no_internals": "Nothing internal",
    "grounded": "Grounded in the context",
    "length": "Length",
    "professional": "Professional tone",
}
FAILURE_NAMES = {
    "acknowledgement": "Passes over what was said",
    "no_boilerplate": "Formulas",
    "one_next_step": "Not one next step",
    "no_internals": "Says something internal",
    "grounded": "Makes something up",
    "length": "Too long",
    "professional": "Unprofessional tone",
}
assert tuple(RULE_NAMES) == tuple(FAILURE_NAMES) == RULES


class LoggedOut(JoshiError):  # noqa: N818 - a state, not a failure
    """Nobody is logged in with this browser, or not any more."""


class Forbidden(JoshiError):  # noqa: N818 - an answer, not a failure
    """This reviewer may not do that."""


def _templates() -> Environment:
    environment = templates("review/web/templates")
    environment.filters |= {"visible": text.visible, "typed": text.typed, "left": text.left}
    environment.globals |= {"rule_names": RULE_NAMES, "failure_names": FAILURE_NAMES}
    return environment


@dataclass
class Desk:
    """`sync` brings the queues up to their sources, the files `watched`, whenever one of these changed."""

    store: Store
    plan: Plan
    workspace: Workspace
    rubric: Rubric
    clock: Callable[[], datetime]
    sync: Callable[[], None]
    watched: Callable[[], list[Path]]
    secure: bool = False
    templates: Environment = field(default_factory=_templates)
    _form_key: str = ""
    _seen: list[tuple[str, int, int]] | None = None
    _syncing: threading.Lock = field(default_factory=threading.Lock)

    def catch_up(self) -> None:
        """Read the sources again if one of them changed."""
        found = [(str(path), (at := path.stat()).st_mtime_ns, at.st_size) for path in self.watched() if path.exists()]
        if found == self._seen:
            return
        with self._syncing:
            if found != self._seen:
                self.sync()
                self._seen = found

    def form_token(self, who: Who) -> str:
        """What the forms of a reviewer carry."""
        if not self._form_key:
            with self.store.writing() as connection:
                self._form_key = accounts.form_key(connection)
        return accounts.form_token(self._form_key, who.name)

    def page(self, name: str, code: int = 200, who: Who | None = None, **values: Any) -> HTMLResponse:
        form_token = self.form_token(who) if who else ""
        shown = self.templates.get_template(name).render(who=who, form_token=form_token, **values)
        return HTMLResponse(shown, code)


def desk(request: Request) -> Desk:
    found = request.app.state.desk
    assert isinstance(found, Desk)
    return found


TheDesk = Annotated[Desk, Depends(desk)]


def reviewer(request: Request, desk: TheDesk) -> Who:
    """Raises:
    LoggedOut: the browser has no cookie of a log-in that still holds.
    """
    cookie = request.cookies.get(COOKIE)
    if cookie:
        with desk.store.reading() as connection:
            found = accounts.who(connection, cookie, desk.clock())
        if found is not None:
            return found
    raise LoggedOut("you are not logged in; log in with the token that 'joshi review add-reviewer' showed")


Reviewer = Annotated[Who, Depends(reviewer)]


def worker(who: Reviewer) -> Who:
    """Raises:
    Forbidden: the reviewer is an auditor, who only reads.
    """
    if who.role == "auditor":
        raise Forbidden("auditors read and decide nothing; log in as an annotator or a specialist")
    return who


Worker = Annotated[Who, Depends(worker)]


def signed(desk: TheDesk, who: Reviewer, form_token: Annotated[str, Form()]) -> Who:
    """Raises:
    Forbidden: the form is not one that this reviewer was shown.
    """
    if not hmac.compare_digest(form_token.encode(), desk.form_token(who).encode()):
        raise Forbidden("this form was made for another reviewer; load the page again")
    return who


Signed = Depends(signed)


def go(path: str) -> Response:
    """To a page by GET; htmx follows too."""
    return RedirectResponse(path, 303)


def shown(item: Item | None, count: Count) -> dict[str, Any]:
    """What the head of a room's page tells."""
    return {"item": item, "count": count}
