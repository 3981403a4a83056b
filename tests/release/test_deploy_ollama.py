"""Deploy, rollback and smoke against an Ollama: what it ends up with, and what a bad night leaves as it was."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import ollama
import pytest

from joshi.errors import GateRefused, JoshiError, Unavailable
from joshi.plan import Plan
from joshi.release import deploy as deploying
from joshi.release import switch as switching
from joshi.release.deploy import deploy
from joshi.release.env_file import read_value
from joshi.release.ollama import Server
from joshi.release.releases import Release, current, list_releases, state_of
from joshi.release.rollback import rollback
from joshi.release.smoke import reply_to, states
from joshi.release.switch import require_set, under_way
from joshi.release.targets import Ollama
from joshi.workspace import Workspace

from .conftest import put_model, snapshot
from .ollama_double import (
    DiskFull,
    Drops,
    Fails,
    Fault,
    Hangs,
    LosesBlob,
    Misrenders,
    Mute,
    OllamaDouble,
    ShowsOther,
)

Put = Callable[..., Path]
ENV = "# who answers\nLLM_DEFAULT_MODEL=phi4:latest\nOTHER='kept'\n"


PLAN = Plan.model_validate(
    {
        "release": {
            "num_ctx": 1024,
            "agents": [],
            "also": {"AGENT_MODEL_OVERRIDES": '{"NegotiationAgent": "{model}"}'},
            "keep": 1,
        }
    }
)


@pytest.fixture
def plan() -> Plan:
    return PLAN


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OllamaDouble]:
    with OllamaDouble(tmp_path / "ollama") as running:
        yield running


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "workspace")
    workspace.root.mkdir(exist_ok=True)
    if not (workspace.root / ".env").exists():
        (workspace.root / ".env").write_text(ENV, encoding="utf-8")
    return workspace


@pytest.fixture
def target(plan: Plan, workspace: Workspace, server: OllamaDouble) -> Ollama:
    return Ollama(plan, workspace, Server(server.url, patience=120))


@pytest.fixture(scope="module")
def deployed_once(tiny_models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one release, and the Ollama that has it."""
    folder = tmp_path_factory.mktemp("deployed")
    workspace = Workspace(folder / "workspace")
    put_model(workspace, PLAN, tiny_models[0])
    (workspace.root / ".env").write_text(ENV, encoding="utf-8")
    with OllamaDouble(folder / "ollama") as server:
        deploy(PLAN, workspace, Ollama(PLAN, workspace, Server(server.url, patience=120)), by="ada")
    return folder


@pytest.fixture
def first(deployed_once: Path, tmp_path: Path) -> Release:
    """The release in use. Ask for it before `server`, which starts on what it copies."""
    shutil.copytree(deployed_once, tmp_path, dirs_exist_ok=True)
    release = current(Workspace(tmp_path / "workspace"))
    assert release is not None
    return release


def models(server: OllamaDouble) -> dict[str, str | None]:
    return {str(model.model): model.digest for model in ollama.Client(server.url).list().models}


def test_a_release_is_served_under_its_own_name_and_the_alias(
    plan: Plan, workspace: Workspace, target: Ollama, server: OllamaDouble, export: Put, tiny_models: list[Path]
) -> None:
    export(tiny_models[0])
    release = deploy(plan, workspace, target, by="ada")
    there = models(server)
    assert set(there) == {"phi4-joshi:latest", release.served_as}
    assert len(set(there.values())) == 1
    env = workspace.root / ".env"
    assert read_value(env, "LLM_DEFAULT_MODEL") == "phi4-joshi"
    assert read_value(env, "AGENT_MODEL_OVERRIDES") == '{"NegotiationAgent": "phi4-joshi"}'
    assert env.read_text(encoding="utf-8").startswith("# who answers\n") and "OTHER='kept'" in env.read_text()
    shown = ollama.Client(server.url).show("phi4-joshi")
    assert shown.template == release.serving.template
    assert {tuple(line.split(maxsplit=1)) for line in (shown.parameters or "").splitlines()} >= {
        ("temperature", "0.2"), ("top_p", "0.9"), ("num_ctx", "1024"), ("stop", '"<|im_end|>"')
    }  # fmt: skip
    assert [check["name"] for check in release.smoke] == ["negotiation reply", "replies by the rubric"]
    assert "10 of 10" in release.smoke[-1]["detail"]


def test_a_blob_that_ollama_has_is_not_sent_again(
    first: Release, plan: Plan, workspace: Workspace, target: Ollama, server: OllamaDouble
) -> None:
    other = plan.model_copy(update={"seed": 8})  # another plan makes another release of the same bytes
    deploy(other, workspace, target, by="ada")
    asked = [(one.method, one.path.split(":")[0]) for one in server.log]
    assert ("HEAD", "/api/blobs/sha256") in asked
    assert len(list_releases(workspace)) == 2


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (Fails("POST /api/blobs"), Unavailable, "upload"),
        (LosesBlob(), JoshiError, "making phi4-joshi"),
        (DiskFull(1_000_000), Unavailable, "no space left"),
        (Fails("POST /api/create"), Unavailable, "signal: killed"),
        (Drops("POST /api/create", after_bytes=10), Unavailable, "broke off"),
        (ShowsOther("temperature", 0.8), GateRefused, "temperature is 0.8, not 0.2"),
        (ShowsOther("stop"), GateRefused, "stop is None"),
        (Misrenders(), GateRefused, "tokens in training"),
        (Fails("POST /api/chat"), Unavailable, "comparison of prompts"),
        (Mute(), GateRefused, "the answer is empty"),
        (Fails("POST /api/copy"), Unavailable, "moving phi4-joshi"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Fault) else "",
)
def test_whatever_fails_leaves_alias_env_and_release_as_they_were(
    first: Release,
    plan: Plan,
    workspace: Workspace,
    target: Ollama,
    server: OllamaDouble,
    export: Put,
    tiny_models: list[Path],
    fault: Fault,
    kind: type[JoshiError],
    says: str,
) -> None:
    there, before = models(server), snapshot(workspace)
    export(tiny_models[1])
    server.fault = fault
    with pytest.raises(kind, match=says):
        deploy(plan, workspace, target, by="ada")
    server.fault = None
    assert models(server)["phi4-joshi:latest"] == there["phi4-joshi:latest"]
    after = snapshot(workspace)
    assert {name: after[name] for name in before if "evaluation" not in name} == {
        name: before[name] for name in before if "evaluation" not in name
    }
    assert current(workspace) == first
    if isinstance(fault, Misrenders):
        second = deploy(plan, workspace, target, by="ada")  # and the next night goes well
        assert set(models(server)) == {"phi4-joshi:latest", first.served_as, second.served_as}


def test_a_server_that_hangs_is_given_up(
    plan: Plan, workspace: Workspace, target: Ollama, server: OllamaDouble, export: Put, tiny_models: list[Path]
) -> None:
    export(tiny_models[0])
    server.fault = Hangs("POST /api/create")
    impatient = Ollama(plan, workspace, Server(server.url, patience=0.5))
    with pytest.raises(Unavailable, match="did not answer in time"):
        deploy(plan, workspace, impatient, by="ada")
    server.fault = None
    assert models(server) == {}
    assert (workspace.root / ".env").read_text(encoding="utf-8") == ENV


def test_an_upload_that_breaks_off_is_sent_again(
    plan: Plan, workspace: Workspace, target: Ollama, server: OllamaDouble, export: Put, tiny_models: list[Path]
) -> None:
    export(tiny_models[0])
    server.fault = Drops("POST /api/blobs", after_bytes=500_000, of="request")
    with pytest.raises(Unavailable, match="broke off the upload"):
        deploy(plan, workspace, target, by="ada")
    assert sum(one.path.startswith("/api/blobs") and one.method == "POST" for one in server.log) == 3
    server.fault = None
    deploy(plan, workspace, target, by="ada")


def test_no_ollama_and_an_old_one_are_told_apart(
    plan: Plan, workspace: Workspace, export: Put, tiny_models: list[Path], tmp_path: Path
) -> None:
    export(tiny_models[0])
    with pytest.raises(Unavailable, match="no Ollama answers at"):
        deploy(plan, workspace, Ollama(plan, workspace, Server("http://127.0.0.1:1")), by="ada")
    with OllamaDouble(tmp_path / "old", version="0.16.3") as old:
        with pytest.raises(JoshiError, match=r"is 0\.16\.3; the plan's oldest_ollama is 0\.17\.1"):
            deploy(plan, workspace, Ollama(plan, workspace, Server(old.url)), by="ada")
        assert all(one.path == "/api/version" for one in old.log)


def test_rollback_moves_the_alias_back_and_at_last_to_what_was_there(
    first: Release,
    plan: Plan,
    workspace: Workspace,
    target: Ollama,
    server: OllamaDouble,
    export: Put,
    tiny_models: list[Path],
) -> None:
    export(tiny_models[1])
    second = deploy(plan, workspace, target, by="ada")
    there = models(server)
    assert there["phi4-joshi:latest"] == there[second.served_as] != there[first.served_as]
    assert rollback(plan, workspace, target, by="ada") == first
    assert models(server)["phi4-joshi:latest"] == there[first.served_as]
    assert rollback(plan, workspace, target, second.id, by="ada") == second  # and forward again
    rollback(plan, workspace, target, by="ada")
    assert rollback(plan, workspace, target, by="ada") is None
    assert "phi4-joshi:latest" not in models(server)
    env = (workspace.root / ".env").read_text(encoding="utf-8")
    assert env == ENV  # the other variable, which was not there before, is gone too
    assert current(workspace) is None


def test_a_model_of_the_alias_name_that_was_there_before_comes_back(
    plan: Plan, workspace: Workspace, target: Ollama, server: OllamaDouble, export: Put, tiny_models: list[Path]
) -> None:
    client = ollama.Client(server.url)
    digest = client.create_blob(tiny_models[2])
    client.create("phi4-joshi", files={"m.gguf": digest}, system="somebody else's")
    before = models(server)["phi4-joshi:latest"]
    export(tiny_models[0])
    deploy(plan, workspace, target, by="ada")
    assert models(server)["phi4-joshi:latest"] != before
    rollback(plan, workspace, target, by="ada")
    assert models(server)["phi4-joshi:latest"] == before


def test_rollback_makes_again_what_ollama_has_lost(
    first: Release,
    plan: Plan,
    workspace: Workspace,
    target: Ollama,
    server: OllamaDouble,
    export: Put,
    tiny_models: list[Path],
) -> None:
    digest = models(server)[first.served_as]
    export(tiny_models[1])
    second = deploy(plan, workspace, target, by="ada")
    client = ollama.Client(server.url)
    client.delete(first.served_as)
    (workspace.root / second.gguf).write_bytes(b"GGUF broken")  # and the newest is broken too
    assert rollback(plan, workspace, target, by="ada") == first
    assert models(server)["phi4-joshi:latest"] == digest


def test_only_so_many_model_files_are_kept(
    first: Release,
    plan: Plan,
    workspace: Workspace,
    target: Ollama,
    server: OllamaDouble,
    export: Put,
    tiny_models: list[Path],
) -> None:
    made = [first]
    for number in (1, 2):
        export(tiny_models[number])
        made.append(deploy(plan, workspace, target, by="ada"))
    states_now = [state_of(one, current(workspace)) for one in list_releases(workspace)]
    assert states_now == ["current", "previous", "retired"]
    assert not (workspace.root / made[0].gguf).exists()
    assert made[0].served_as not in models(server)
    with pytest.raises(JoshiError, match="was not kept"):
        rollback(plan, workspace, target, made[0].id, by="ada")


STEPS = ["_record", "write_json", "point", "set_value", "write_text"]


@pytest.mark.parametrize("going", ["deploy", "rollback"])
@pytest.mark.parametrize("step", STEPS)
def test_whoever_is_killed_leaves_what_the_next_command_mends(
    first: Release,
    plan: Plan,
    workspace: Workspace,
    target: Ollama,
    server: OllamaDouble,
    export: Put,
    tiny_models: list[Path],
    step: str,
    going: str,
) -> None:
    """SIGKILL right after a step, in a process of its own: alias, env file and pointer may disagree."""
    export(tiny_models[1])
    if going == "rollback":
        deploy(plan, workspace, target, by="ada")

    def command() -> None:
        if going == "deploy":
            deploy(plan, workspace, target, by="ada")
        else:
            rollback(plan, workspace, target, by="ada")

    if going == "rollback" and step == "_record":
        pytest.skip("a rollback makes no record")
    _killed_after(step, target, command)
    now = current(workspace)
    assert now is not None  # one of the two, whole
    rollback(plan, workspace, target, now.id, by="ada")
    there = models(server)
    assert there["phi4-joshi:latest"] == there[now.served_as]
    assert read_value(workspace.root / ".env", "LLM_DEFAULT_MODEL") == "phi4-joshi"
    assert not under_way(workspace).exists()
    deploy(plan, workspace, target, by="ada")
    assert set(models(server)) - {"phi4-joshi:latest"} <= {one.served_as for one in list_releases(workspace)}


def _killed_after(step: str, target: Ollama, command: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            owner = {"_record": deploying, "point": target}.get(step, switching)
            real = getattr(owner, step)

            def dies(*arguments: object, **named: object) -> None:
                real(*arguments, **named)
                os.kill(os.getpid(), signal.SIGKILL)

            setattr(owner, step, dies)
            command()
        finally:
            os._exit(1)  # the step never came
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


def test_the_agents_questions_reach_ollama_as_the_agents_send_them(
    first: Release, workspace: Workspace, plan: Plan, target: Ollama, server: OllamaDouble
) -> None:
    with target.asking(first, workspace.root / first.gguf) as ask:
        reply = ask(reply_to(states()[0], plan))
    assert reply.finish == "stop" and reply.tokens_per_second > 0
    (asked,) = [one.body for one in server.log if one.path == "/api/chat"]
    assert asked["model"] == first.served_as
    assert "temperature" not in asked["options"]  # the release's own holds
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]


def test_what_is_in_use_is_asked_by_its_alias(
    first: Release, workspace: Workspace, plan: Plan, target: Ollama, server: OllamaDouble
) -> None:
    with target.asking_in_use(first, workspace.root / first.gguf) as ask:
        assert ask(reply_to(states()[0], plan)).finish == "stop"
    (asked,) = [one.body for one in server.log if one.path == "/api/chat"]
    assert asked["model"] == "phi4-joshi"
    require_set(plan, workspace, first)


def test_an_alias_that_somebody_moved_is_told_and_mended(
    first: Release, workspace: Workspace, plan: Plan, target: Ollama, server: OllamaDouble
) -> None:
    client = ollama.Client(server.url)
    client.create("other", from_=first.served_as, system="You are another.")
    client.copy("other", "phi4-joshi")
    file = workspace.root / first.gguf
    with pytest.raises(GateRefused, match=f"is not release {first.id}"), target.asking_in_use(first, file):
        pass
    rollback(plan, workspace, target, first.id, by="ada")
    with target.asking_in_use(first, file):
        pass
    client.delete("phi4-joshi")
    with pytest.raises(GateRefused, match="has no phi4-joshi;"), target.asking_in_use(first, file):
        pass


@pytest.mark.parametrize("line", ["LLM_DEFAULT_MODEL=phi4", "# nothing set"])
def test_a_variable_that_somebody_set_back_is_told(first: Release, workspace: Workspace, plan: Plan, line: str) -> None:
    (workspace.root / ".env").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(GateRefused, match=f"rollback {first.id}"):
        require_set(plan, workspace, first)
