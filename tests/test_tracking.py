"""Runs in Weights & Biases: what they hold, and that no tracker stops or delays a stage."""

from __future__ import annotations

import logging
import socket
import threading
from pathlib import Path

import psutil
import pytest

from joshi import tracking
from joshi.plan import Plan
from joshi.stage import Manifest
from joshi.workspace import Workspace

from .end_to_end.conftest import joshi

MANIFEST = Manifest(
    stage="train sft",
    key="0" * 64,
    plan_sha256="1" * 64,
    seed=7,
    versions={"torch": "2.13.0"},
    inputs={"datasets/phi4_humanization/sft_v3.jsonl": "2" * 64},
    outputs={"artifacts/phi4-joshi/sft/adapter_model.safetensors": "3" * 64},
    metrics={
        "heldout_loss": [3.5, 2.6],
        "curve": {"log": [{"step": 1, "loss": 3.25}, {"step": 2, "loss": 3.125}], "heldout": [{"step": 2, "kl": 0.5}]},
    },
    seconds=12.5,
    created_at="2026-03-01T12:00:00Z",
)
ONLINE = Plan.model_validate({"tracking": {"mode": "online"}})
KEY = "0123456789abcdef" * 2 + "01234567"  # in the form of a key, and nobody's


def test_a_run_holds_plan_dataset_curves_and_the_sha256_of_what_it_made(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    tracking.record(Plan(), workspace, MANIFEST)
    (run,) = tracking.unsent(workspace)
    (file,) = run.glob("*.wandb")
    content = file.read_bytes()
    for text in ("phi4-humanization", "train sft/loss", "3.125", "train sft/kl", "dataset_version", "2" * 64, "3" * 64):
        assert text.encode() in content, text


def test_no_run_is_written_where_the_plan_wants_none(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    tracking.record(Plan.model_validate({"tracking": {"mode": "disabled"}}), workspace, MANIFEST)
    assert tracking.unsent(workspace) == []


def test_a_stage_does_not_wait_for_a_tracker_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def hold() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)  # and never a byte back
                asked.set()

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        tracking.record(ONLINE, workspace, MANIFEST)  # would hang here
        assert asked.wait(120), "the run was not sent from the background"
        assert len(tracking.unsent(workspace)) == 1
        for process in psutil.Process().children(recursive=True):  # it would try again for long
            if "wandb" in process.cmdline():
                process.kill()
        for connection in held:
            connection.close()


def test_a_tracker_that_fails_is_told_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workspace = Workspace(tmp_path)
    workspace.private.mkdir()
    (workspace.private / "wandb").write_text("a file where the folder of runs should be", encoding="utf-8")
    with caplog.at_level(logging.WARNING, "joshi"):
        tracking.record(Plan(), workspace, MANIFEST)
    assert "was not tracked" in caplog.text


def test_sync_says_what_to_do_where_nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "joshi.toml").write_text("", encoding="utf-8")
    assert "no run is left to send" in joshi(tmp_path, "track", "sync").stdout
    tracking.record(Plan(), Workspace(tmp_path), MANIFEST)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.netrc
    monkeypatch.chdir(tmp_path)
    done = joshi(tmp_path, "track", "sync")
    assert done.returncode != 0
    assert "wandb login" in done.stderr.replace("\n", " ")
    assert not (tmp_path / "wandb").exists()  # nothing is left where the command was given
    assert len(tracking.unsent(Workspace(tmp_path))) == 1
