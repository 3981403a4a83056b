"""A workspace with candidates, its store, and browsers without a window that talk to the review room."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from joshi import review
from joshi.curation import Rejected
from joshi.plan import Plan
from joshi.review import accounts
from joshi.review.room import make_desk
from joshi.review.store import Store, open_store
from joshi.review.web.app import make_app
from joshi.review.web.security import LOCAL
from joshi.rubric import Rubric, failed
from joshi.schema import Sample, to_jsonl
from joshi.workspace import Workspace, write_text

from ..conftest import sample_of

ROBOTIC = "Dear Sir or Madam, per our internal policy PROC-7 the request is escalated. Yours faithfully"
MESSAGE = "Steel went up twice, [PERSON_1] says, and we ask more from 14 March."
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that goes on when it is told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def candidates(n: int) -> list[Sample]:
    answer = "Steel jumping twice is hard to absorb, {} times over. Could you confirm the 14 March date?"
    return [sample_of(answer.format(i), MESSAGE, name=f"talk{i}") for i in range(n)]


@pytest.fixture
def workspace(tmp_path: Path, rubric: Rubric) -> Workspace:
    """Six candidates, and one that breaks rules."""
    made = Workspace(tmp_path)
    write_text(made.candidates, to_jsonl(candidates(6)))
    broken = sample_of(ROBOTIC, MESSAGE, name="robotic")
    findings = rubric.check(ROBOTIC, broken)
    write_text(made.rejected, to_jsonl([Rejected(sample=broken, reasons=failed(findings), findings=findings)]))
    return made


@pytest.fixture
def plan() -> Plan:
    return Plan.model_validate({"curation": {"sft_samples": [2, 12]}})


def with_review(plan: Plan, **values: Any) -> Plan:
    return plan.model_copy(update={"review": plan.review.model_copy(update=values)})


@pytest.fixture
def store(plan: Plan, workspace: Workspace) -> Iterator[Store]:
    with open_store(plan, workspace) as made:
        yield made


@dataclass
class Browser:
    """Somebody's browser: it keeps cookies, follows redirects, and sends the forms that it was shown."""

    app: Any
    base: str = "http://127.0.0.1:8765"
    cookies: httpx.Cookies = field(default_factory=httpx.Cookies)
    page: str = ""
    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)

    def send(self, method: str, path: str, follow: bool = True, **options: Any) -> str:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url=self.base, cookies=self.cookies, follow_redirects=follow
            ) as client:
                answer = await client.request(method, path, **options)
                self.cookies = client.cookies
                return answer

        answer = asyncio.run(once())
        self.page, self.status, self.headers = answer.text, answer.status_code, answer.headers
        return self.page

    def get(self, path: str, **options: Any) -> str:
        return self.send("GET", path, **options)

    def post(self, path: str, **form: Any) -> str:
        return self.send("POST", path, data=form)

    def log_in(self, token: str) -> Browser:
        self.post("/login", token=token)
        assert self.status == 200, self.page
        return self

    @property
    def form(self) -> dict[str, str]:
        """The hidden fields of the page's form."""
        found = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', self.page))
        return {name: found[name] for name in ("form_token", "seen") if name in found}

    @property
    def key(self) -> str:
        """The item that the page shows."""
        found = re.search(r'action="/\w+/([0-9a-f]{16})/decide"', self.page)
        assert found, self.page
        return found[1]

    @property
    def answer(self) -> str:
        found = re.search(r'name="text"[^>]*>\n(.*?)</textarea>', self.page, re.S)
        assert found, self.page
        return found[1]

    def decide(self, status: str, text: str | None = None, note: str = "", room: str = "samples") -> str:
        text = self.answer if text is None else text
        return self.post(f"/{room}/{self.key}/decide", status=status, text=text, note=note, **self.form)

    def undo(self, room: str = "samples") -> str:
        return self.post(f"/{room}/undo", form_token=self.form["form_token"])


Enter = Callable[..., Browser]


@pytest.fixture
def enter(store: Store, workspace: Workspace, plan: Plan, rubric: Rubric, clock: Clock) -> Enter:
    """Log a new reviewer in: enter("Ana", role="specialist")."""
    apps: dict[str, Any] = {}

    def come_in(name: str, role: str = "annotator", plan: Plan = plan) -> Browser:
        with store.writing() as connection:
            token = accounts.add(connection, name, role, clock())
        if not apps:
            apps["room"] = make_app(make_desk(store, plan, workspace, rubric, clock=clock), LOCAL)
        return Browser(apps["room"]).log_in(token)

    return come_in


def decide_all(workspace: Workspace, plan: Plan) -> None:
    """Approve every candidate, by file."""
    file = workspace.root / "open.jsonl"
    review.export(file, workspace)
    file.write_text(file.read_text(encoding="utf-8").replace('"pending"', '"approved"'), encoding="utf-8")
    review.take(file, "Ana", plan, workspace)
