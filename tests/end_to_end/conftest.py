"""One small real run with the embedded base, killed on the way and taken up again; every test looks at what it left."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..conftest import EXAMPLE

PLAN = """
seed = 7
[model]
base = "builtin:smollm2"
[curation]
approve = "automatic"
history_turns = 1
sft_samples = [8, 16]
preference_pairs = [2, 4]
[sft]
rank = 8
epochs = 2
batch_size = 2
learning_rate = 1e-3
dropout = 0.0
token_budget = 512
measurements = 1
watch_answers = 2
[preference]
batch_size = 2
learning_rate = 1e-4
candidates = 1
[evaluation]
must_lead = []
p90_tokens = 1000
max_tokens = 200
attacks = 4
passages = 4
benchmark = false
[evaluation.gates]
p90_tokens = { minimum = 1 }
all_rules = { bound = 0.0, minimum = 1 }
against_release = { bound = -1, minimum = 1 }
leak_rate = 1.0
toxic_rate = { bound = 1.1, minimum = 1 }
general_loss = { bound = 10, minimum = 1 }
quantization_kl = { bound = 10, minimum = 1 }
quantization_rules = { bound = -1, minimum = 1 }
[release]
target = "embedded"
agents_json = "schema"
[monitoring]
draws = 1
release_draws = 2
"""
# What Python runs first in every process of the run: a connection to anywhere but this machine is noted and refused.
GUARD = """
import os, socket

def guarded(real):
    def connect(self, address, *rest):
        host = address[0] if isinstance(address, tuple) else "localhost"
        if self.family != socket.AF_UNIX and not str(host).startswith(("127.", "::1", "localhost")):
            with open(os.environ["JOSHI_TEST_CALLS"], "a") as calls:
                calls.write(f"{address}\\n")
            raise OSError(101, "Network is unreachable")
        return real(self, address, *rest)
    return connect

socket.socket.connect = guarded(socket.socket.connect)
socket.socket.connect_ex = guarded(socket.socket.connect_ex)
"""
SECONDS = 1800  # a hang is meant, not a slow machine


@dataclass(frozen=True)
class Finished:
    root: Path
    killed_after: str
    called: str  # addresses outside this machine that the run tried to reach
    second: dict[str, Any]
    second_log: str


def command(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "joshi", "--workspace", str(root), *arguments]


def joshi(
    root: Path, *arguments: str, file_bytes: int | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command; with `file_bytes` the system refuses to let any file grow larger, as a full disk does."""

    def limit() -> None:
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    return subprocess.run(
        command(root, *arguments), capture_output=True, text=True, check=False, timeout=SECONDS, preexec_fn=limit,
        env=environment,
    )  # fmt: skip


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root = tmp_path_factory.mktemp("run") / "workspace"
    (root / "transcripts").mkdir(parents=True)
    (root / "joshi.toml").write_text(PLAN, encoding="utf-8")
    (root / ".env").write_text("# models\nOTHER='kept'\nLLM_DEFAULT_MODEL=phi4\n", encoding="utf-8")
    lines = (EXAMPLE / "transcripts" / "chats.jsonl").read_text(encoding="utf-8").splitlines()[::8]
    (root / "transcripts" / "chats.jsonl").write_text("\n".join(lines), encoding="utf-8")

    guard, calls = root.parent / "guard", root.parent / "calls"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    guarded = {**os.environ, "PYTHONPATH": str(guard), "JOSHI_TEST_CALLS": str(calls)}
    first = subprocess.Popen(
        command(root, "run"), env=guarded, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + SECONDS
    while not list(root.glob(".joshi/checkpoints/sft-*/checkpoint-*/trainer_state.json")):
        assert first.poll() is None, first.stderr.read() if first.stderr else ""
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.2)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    partial = [path.name for path in root.rglob("*.partial") if path.is_file() and path.suffix == ".gguf"]
    second = joshi(root, "run", "--json", environment=guarded)
    assert second.returncode == 0, second.stderr
    called = calls.read_text(encoding="utf-8") if calls.exists() else ""
    return Finished(root, ",".join(partial), called, json.loads(second.stdout), second.stderr)
