"""How long a reviewer waits: 10,000 candidates in the queue, the samples room's pages asked for one after another.

python -m benchmarks.review [--candidates N] [--pages N]

Prints the median and the 95th percentile in milliseconds, of the whole way through the application and its SQLite
file (no network): the page with the next candidate, a decision with the page after it, an undo, and what the rubric
says of a text, which the page asks for when it is already shown.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx

from joshi import base
from joshi.plan import Plan
from joshi.review import accounts
from joshi.review.room import make_desk
from joshi.review.store import open_store
from joshi.review.web.app import make_app
from joshi.review.web.security import LOCAL
from joshi.rubric import Rubric, percentile
from joshi.schema import Context, HistoryTurn, Provenance, Sample, to_jsonl
from joshi.workspace import Workspace, write_text

ADDRESS = "http://127.0.0.1:8765"
ANSWER = "Steel jumping {} times is hard to absorb. Could you confirm the 14 March date?"
MESSAGE = "Steel has gone up {} times and we must ask £12k–£13k from 14 March. " * 4


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--pages", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        plan = Plan.model_validate({"model": {"base": "builtin:smollm2"}})
        write_text(workspace.candidates, to_jsonl(sample(i) for i in range(arguments.candidates)))
        base.run(plan, workspace)
        with open_store(plan, workspace) as store:
            with store.writing() as connection:
                token = accounts.add(connection, "Ana", "annotator", datetime.now(UTC))
            desk = make_desk(store, plan, workspace, Rubric(plan, base.tokenizer(workspace)))
            started = time.perf_counter()
            desk.catch_up()
            print(f"{arguments.candidates:,} candidates came into the queue in {time.perf_counter() - started:.1f} s")
            measured = asyncio.run(measure(make_app(desk, LOCAL), token, arguments.pages))
    for what, taken in measured.items():
        slow = percentile([round(ms) for ms in taken], 0.95)
        print(f"{what}: median {statistics.median(taken):.0f} ms, 95% within {slow:.0f} ms")


async def measure(app: object, token: str, pages: int) -> dict[str, list[float]]:
    """Milliseconds of each kind of page."""
    found: dict[str, list[float]] = {name: [] for name in ("page", "decision and next page", "undo", "findings")}

    async def timed(name: str, ask: Callable[[], Awaitable[httpx.Response]]) -> str:
        started = time.perf_counter()
        answer = await ask()
        found[name].append(1e3 * (time.perf_counter() - started))
        answer.raise_for_status()
        return answer.text

    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=ADDRESS, follow_redirects=True) as client:
        await client.post("/login", data={"token": token})
        for number in range(pages):
            page = await timed("page", lambda: client.get("/samples"))
            form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
            key = re.findall(r'action="/samples/(\w+)/decide"', page)[0]
            if number % 10 == 0:
                await timed("findings", lambda key=key: client.get(f"/samples/{key}/findings"))  # type: ignore[misc]
            rejected = form | {"status": "rejected", "text": "x"}
            decide = f"/samples/{key}/decide"
            await timed("decision and next page", lambda to=decide, data=rejected: client.post(to, data=data))  # type: ignore[misc]
            if number % 10 == 9:
                token_only = {"form_token": form["form_token"]}
                await timed("undo", lambda data=token_only: client.post("/samples/undo", data=data))  # type: ignore[misc]
    return found


def sample(number: int) -> Sample:
    history = [HistoryTurn(role="supplier", text=MESSAGE.replace("{}", str(number)))]
    return Sample(
        id=f"talk{number}/1",
        instruction="Reply to the supplier's latest message.",
        context=Context(round=1, supplier_sentiment="worried", outstanding_asks=["date"], history=history),
        ideal_answer=ANSWER.format(number),
        provenance=Provenance(source="made", conversation_id=f"talk{number}", turn=1, tool_version="0"),
    )


if __name__ == "__main__":
    main()
