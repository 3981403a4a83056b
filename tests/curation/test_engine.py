"""Engines: the same bytes from each, nothing lost in silence, and no secret with the workers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from joshi import base, curation, datasets
from joshi.curation import DUPLICATE
from joshi.curation import engine as engines
from joshi.curation.engine import QUIET, Engine, Mined, Worker, mine_all, mine_one
from joshi.curation.fingerprints import key_path
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.schema import Conversation, Participant, Turn
from joshi.workspace import Workspace
from tests.conftest import EXAMPLE

TOML = '[model]\nbase = "builtin:smollm2"\n[curation]\nsft_samples = [1, 800]\napprove = "automatic"\n'
PLAN = Plan.model_validate(
    {"model": {"base": "builtin:smollm2"}, "curation": {"sft_samples": [1, 800], "approve": "automatic"}}
)
ANSWER = "Steel jumping twice is hard on a mill, Gareth. £12,450 works for us. Could you confirm 14 March?"


def talk(name: str, answer: str = ANSWER) -> Conversation:
    return Conversation(
        id=name,
        source="chats.jsonl",
        participants=[Participant(role="supplier", person="Gareth Pugh", firm="Pellworth Films Ltd")],
        turns=[
            Turn(speaker="s", role="supplier", text=f"Steel has gone up and we ask £12,450 from 14 March. {name}"),
            Turn(speaker="b", role="buyer", text=answer),
        ],
    )


def line(name: str, answer: str) -> str:
    said = [("user", "Gareth Pugh here. Steel has gone up and we ask £12,450 from 14 March."), ("assistant", answer)]
    return json.dumps({"id": name, "messages": [{"role": role, "content": text} for role, text in said]}) + "\n"


def workspace_of(folder: Path) -> Workspace:
    workspace = Workspace(folder)
    (folder / "transcripts").mkdir(parents=True)
    (folder / "joshi.toml").write_text(TOML, encoding="utf-8")
    (folder / "transcripts" / "a.jsonl").write_text(
        line("one", ANSWER) + "{broken\n" + line("two", ANSWER + " Thanks."), encoding="utf-8"
    )
    (folder / "transcripts" / "b.jsonl").write_text(
        "".join(
            line(f"more{i}", f"Friday suits all {i} of us. Could you send the {'drawing' * i}?") for i in range(40)
        ),
        encoding="utf-8",
    )
    return workspace


def outputs(workspace: Workspace) -> list[bytes]:
    return [path.read_bytes() for path in (workspace.candidates, workspace.rejected, workspace.quarantine)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = workspace_of(tmp_path)
    base.run(PLAN, workspace)
    return workspace


@pytest.mark.parametrize("kind", ["daft", "ray"])
def test_every_engine_writes_the_same_bytes(kind: str, workspace: Workspace) -> None:
    if importlib.util.find_spec(kind) is None or importlib.util.find_spec("daft") is None:
        pytest.skip(f"{kind} is not installed")
    curation.run(PLAN, workspace)
    expected = outputs(workspace)
    for path in (workspace.candidates, workspace.rejected, workspace.quarantine):
        path.unlink()
    # A process of its own: one process runs one engine of Daft's, and what a worker prints must not leak the key.
    command = [sys.executable, "-m", "joshi", "--workspace", str(workspace.root), "curate", "--engine", kind, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert outputs(workspace) == expected
    metrics = json.loads(done.stdout)
    assert metrics["records"] == {"read": 43, "kept": 42, "rejected": 0, "quarantined": 1}
    assert metrics["candidates"]["mined"] == 42
    assert key_path(workspace).read_text(encoding="ascii").strip() not in done.stdout + done.stderr


def test_a_worker_is_given_no_secret_and_no_more_of_the_plan_than_it_needs() -> None:
    given: list[str] = []

    class Daft(SimpleNamespace):
        def cls(self, kind: type[Worker], **_: Any) -> Any:
            def made(settings: str) -> Any:
                given.append(settings)
                raise KeyboardInterrupt

            return made

    plan = Plan.model_validate({"memory": {"url": "https://user:secret@host"}, "seed": 3})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engines, "_start", lambda engine: (Daft(), 1))
        list(mine_all([talk("a")], plan, Engine("daft")))
    assert "secret" not in given[0]
    assert json.loads(given[0])["seed"] == 3


def test_a_worker_does_what_this_process_does() -> None:
    text = Worker(PLAN.model_dump_json()).work(talk("a").model_dump_json())
    assert Mined.model_validate_json(text) == mine_one(talk("a"), PLAN)


class Frame:
    """A Daft data frame of a worker that gives back `answers`."""

    def __init__(self, answers: Sequence[Any], places: Sequence[int]) -> None:
        self.rows = {"place": list(places), "mined": list(answers)}

    def __getattr__(self, name: str) -> Any:
        return (lambda: self.rows) if name == "to_pydict" else lambda *_: self

    def __getitem__(self, name: str) -> Any:
        return self


GOOD = [mine_one(talk(name), PLAN).model_dump_json() for name in ("a", "b")]


@pytest.mark.parametrize(
    ("answers", "places", "message"),
    [
        (GOOD, [1, 0], "2 results for 2"),
        (GOOD[:1], [0], "1 results for 2"),
        ([GOOD[0], None], [0, 1], "None for 'b' of chats.jsonl"),
        ([GOOD[0], 7], [0, 1], "7 for 'b'"),
        ([GOOD[0], "{}"], [0, 1], "no result"),
        ([GOOD[0], GOOD[0]], [0, 1], "'a' for 'b'"),
        ([GOOD[0], Mined(conversation="b", version="0.0.1").model_dump_json()], [0, 1], "Joshi 0.0.1"),
    ],
)
def test_what_does_not_match_what_was_sent_is_an_error(
    answers: Sequence[Any], places: Sequence[int], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = Frame(answers, places)
    daft = SimpleNamespace(cls=lambda *_, **__: lambda settings: frame, from_pydict=lambda values: frame)
    monkeypatch.setattr(engines, "_start", lambda engine: (daft, 2))
    with pytest.raises(JoshiError, match=message):
        list(mine_all([talk("a"), talk("b")], PLAN, Engine("daft")))


def test_a_conversation_that_breaks_redaction_is_quarantined_and_quoted_nowhere(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    redact = engines.redact_conversation

    def failing(conversation: Conversation, plan: Plan) -> Any:
        if conversation.id == "two":
            raise ValueError(conversation.turns[0].text)
        return redact(conversation, plan)

    monkeypatch.setattr(engines, "redact_conversation", failing)
    metrics = curation.run(PLAN, workspace).metrics
    assert metrics["records"] == {"read": 43, "kept": 41, "rejected": 0, "quarantined": 2}
    broken, faulty = (json.loads(row) for row in workspace.quarantine.read_text(encoding="utf-8").splitlines())
    assert broken["line"] == 2
    assert (faulty["source"], faulty["excerpt"]) == ("a.jsonl", "id two")
    assert faulty["reason"].startswith("redaction failed (ValueError in test_engine.py:")
    assert "Gareth" not in faulty["reason"]


def test_what_is_no_conversations_doing_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(conversation: Conversation, plan: Plan) -> Any:
        raise JoshiError("lexicon.txt is damaged")

    monkeypatch.setattr(engines, "redact_conversation", failing)
    with pytest.raises(JoshiError, match="damaged"):
        list(mine_all([talk("a")], PLAN, Engine()))


def test_telemetry_is_off_before_daft_is_imported() -> None:
    code = (
        "import os, sys; from joshi.curation.engine import Engine, _start; assert 'daft' not in sys.modules; "
        "_start(Engine('daft')); from daft.scarf_telemetry import opted_out; assert opted_out()"
    )
    if importlib.util.find_spec("daft") is None:
        pytest.skip("daft is not installed")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert QUIET["RAY_USAGE_STATS_ENABLED"] == "0"


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "daft", None)
    with pytest.raises(JoshiError, match=r"pip install 'joshi\[ray\]'"):
        list(mine_all([talk("a")], PLAN, Engine("ray")))


def test_an_address_without_ray_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "joshi", "--workspace", str(workspace_of(tmp_path).root), "curate"]
    done = subprocess.run([*command, "--ray-address", "host:6379"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "--engine ray" in done.stderr


def test_the_next_version_keeps_its_samples_and_takes_no_repetition(workspace: Workspace) -> None:
    transcripts = workspace.root / "transcripts"
    lines = (EXAMPLE / "transcripts" / "chats.jsonl").read_text(encoding="utf-8").splitlines()[:8]
    (transcripts / "b.jsonl").write_text("\n".join(lines), encoding="utf-8")
    curation.run(PLAN, workspace)
    first = curation.load_candidates(workspace)
    datasets.run(PLAN, workspace)
    curation.run(PLAN, workspace)
    assert curation.load_candidates(workspace) == first  # so the same inputs freeze the same version again
    # Another conversation says the same and is read first: what is frozen stays, what is new goes.
    again = json.loads(next(line for line in lines if json.loads(line)["id"] == first[-1].provenance.conversation_id))
    (transcripts / "0.jsonl").write_text(json.dumps(again | {"id": "again"}), encoding="utf-8")
    metrics = curation.run(PLAN, workspace).metrics
    assert curation.load_candidates(workspace) == first
    assert metrics["repeat_frozen"] == 0
    findings = [f.message for one in curation.load_rejected(workspace) for f in one.findings if f.rule == DUPLICATE]
    assert f"repeats {first[-1].id}" in findings
    # The first version's transcripts are taken away: its answers count all the same.
    for name in ("a.jsonl", "b.jsonl"):
        (transcripts / name).unlink()
    metrics = curation.run(PLAN, workspace).metrics
    assert metrics["repeat_frozen"] >= 1
    assert metrics["candidates"]["kept"] == 0
    findings = [f.message for one in curation.load_rejected(workspace) for f in one.findings if f.rule == DUPLICATE]
    assert f"repeats {first[-1].id} of v1" in findings
