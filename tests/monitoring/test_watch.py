"""The daily check as it runs: an Ollama that answers otherwise overnight is found out, and people are told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import ollama
import pytest

from joshi.base.gguf_file import GgufFile
from joshi.errors import JoshiError, Unavailable
from joshi.monitoring import heard
from joshi.monitoring.heard import Given
from joshi.monitoring.tell import tell
from joshi.monitoring.watch import check, read_history, report_folder
from joshi.plan import Plan
from joshi.release.deploy import deploy
from joshi.release.ollama import Server
from joshi.release.releases import current
from joshi.release.smoke import states
from joshi.release.targets import Ollama
from joshi.schema import to_jsonl
from joshi.workspace import Workspace, write_text

from ..release.conftest import put_model
from ..release.ollama_double import OllamaDouble
from ..release.reciting import GOOD, ROBOTIC, write_reciting

NIGHT = datetime(2026, 3, 2, 2, tzinfo=UTC)
PLAN = Plan.model_validate(
    {
        "release": {"num_ctx": 1024, "agents": []},
        "monitoring": {
            "release_draws": 2, "draws": 2, "release_production": 60,
            "webhook": "env:HOOK", "mail_to": ["ops@example.org"], "smtp_port": 1,
        },
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OllamaDouble]:
    with OllamaDouble(tmp_path_factory.mktemp("ollama")) as running:
        yield running


@pytest.fixture(scope="module")
def workspace(server: OllamaDouble, smollm2: GgufFile, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A release in Ollama, with probes that need no dataset."""
    workspace = Workspace(tmp_path_factory.mktemp("watched"))
    model = write_reciting(workspace.root / "good.gguf", GOOD, smollm2.path)
    put_model(workspace, PLAN, model)
    release = deploy(PLAN, workspace, Ollama(PLAN, workspace, Server(server.url)), by="ada")
    probes = [
        state.model_copy(
            update={"id": f"{state.id}/{item}", "context": state.context.model_copy(update={"item": item})}
        )
        for state in states()
        for item in ("steel brackets", "cardboard boxes", "pump seals")
    ]
    write_text(workspace.releases / release.id / "watch" / "probes.jsonl", to_jsonl(probes))
    return workspace


def test_days_go_by_and_a_model_that_was_changed_is_found_out(
    workspace: Workspace, server: OllamaDouble, smollm2: GgufFile, tmp_path: Path
) -> None:
    first = check(PLAN, workspace, server.url, NIGHT)
    assert first.verdict == "ok"
    assert check(PLAN, workspace, server.url, NIGHT + timedelta(hours=3)).day == first.day
    assert len(read_history(workspace)) == 1  # two runs on one day count once
    other = write_reciting(tmp_path / "other.gguf", ROBOTIC, smollm2.path)
    client = ollama.Client(server.url)
    client.create("phi4-joshi", files={"m.gguf": client.create_blob(other)})
    verdicts = [check(PLAN, workspace, server.url, NIGHT + timedelta(days=n)).verdict for n in (1, 2)]
    assert verdicts[-1] == "drift"
    report = json.loads((report_folder(workspace) / "report.json").read_text(encoding="utf-8"))
    assert (report["verdict"], report["day"]) == ("drift", "2026-03-04")
    assert "rollback" in (report_folder(workspace) / "index.html").read_text(encoding="utf-8")
    # A clock that jumps back judges an earlier day, and leaves the later ones as they are.
    check(PLAN, workspace, server.url, NIGHT - timedelta(days=1))
    assert [one.day for one in read_history(workspace)] == ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]


def test_production_is_looked_at_once_there_is_a_baseline(workspace: Workspace, server: OllamaDouble) -> None:
    release = current(workspace)
    assert release is not None
    context = states()[0].context
    for n in range(60 + 5):
        at = NIGHT - timedelta(days=9) if n < 60 else NIGHT - timedelta(hours=2)
        given = Given(context=context, answer=GOOD, workflow_id=f"{n}", at=(at + timedelta(seconds=n)).isoformat())
        heard.keep(given, release.id, PLAN, workspace)
    verdict = check(PLAN, workspace, server.url, NIGHT)
    watched = {one.source: one for one in verdict.watched}
    assert (watched["production"].answers, watched["production"].answers_before) == (5, 60)
    assert not watched["production"].enough  # five conversations show nothing, and it says so


def test_without_ollama_nothing_is_written(workspace: Workspace, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in report_folder(workspace).iterdir()}
    with pytest.raises(Unavailable):
        check(PLAN, workspace, "http://127.0.0.1:1", NIGHT + timedelta(days=3))
    assert {path: path.read_bytes() for path in report_folder(workspace).iterdir()} == before
    with pytest.raises(JoshiError, match="nothing is deployed"):
        check(PLAN, Workspace(tmp_path), None, NIGHT)


def test_a_damaged_history_is_told_by_its_line(workspace: Workspace) -> None:
    path = report_folder(workspace) / "history.jsonl"
    whole = path.read_text(encoding="utf-8")
    write_text(path, whole + '{"day": "2026-')  # cut off
    with pytest.raises(JoshiError, match=rf"history\.jsonl:{whole.count(chr(10)) + 1}: not JSON"):
        read_history(workspace)
    write_text(path, whole)


def test_drift_is_told_without_a_word_of_any_answer(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=listening.serve_forever, daemon=True).start()
    drifted = read_history(workspace)[-1]
    tell(drifted, PLAN, {"HOOK": f"http://127.0.0.1:{listening.server_port}/secret-part"})
    listening.shutdown()
    listening.server_close()
    assert told[0]["verdict"] == "drift" and "hesitate" not in json.dumps(told)
    tell(drifted, PLAN, {"HOOK": "http://127.0.0.1:1/secret-part"})
    assert "the webhook was not told" in caplog.text and "no mail was sent" in caplog.text
    assert "secret-part" not in caplog.text
