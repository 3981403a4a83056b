"""Deploy and rollback: the gates decide, the bytes are checked, and whatever fails leaves what was in use."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joshi.errors import GateRefused, JoshiError, PlanError
from joshi.plan import Plan
from joshi.release import deploy as deploys
from joshi.release import switch as switching
from joshi.release.deploy import deploy
from joshi.release.env_file import read_value, set_value, unset
from joshi.release.releases import current, list_releases, state_of
from joshi.release.rollback import rollback
from joshi.release.targets import Target
from joshi.workspace import Workspace, sha256_file

from .conftest import snapshot

Put = Callable[..., Path]


def test_a_release_is_bound_to_bytes_gates_and_people(
    plan: Plan, workspace: Workspace, target: Target, export: Put, tiny_models: list[Path]
) -> None:
    model = export(tiny_models[0])
    release = deploy(plan, workspace, target, by="ada")
    assert release.model_sha256 == sha256_file(model) == sha256_file(workspace.root / release.gguf)
    assert (release.verdict, release.reviewed, release.by) == ("pass", "reviewed by Ada", "ada")
    assert release.gates[0]["name"] == "p90_tokens"
    assert read_value(workspace.root / ".env", "LLM_DEFAULT_MODEL") == "phi4-joshi"
    assert current(workspace) == release
    assert deploy(plan, workspace, target, by="ada") == release  # nothing new to release


@pytest.mark.parametrize("trouble", ["no report", "failed", "other bytes"])
def test_the_gates_decide_unless_a_person_gives_a_reason(
    plan: Plan, workspace: Workspace, target: Target, export: Put, tiny_models: list[Path], trouble: str
) -> None:
    export(tiny_models[0], "fail" if trouble == "failed" else "pass")
    if trouble == "no report":
        (workspace.evaluation_report / "report.json").unlink()
    if trouble == "other bytes":
        workspace.model(plan.model.name).write_bytes(tiny_models[1].read_bytes())
    with pytest.raises(GateRefused, match="--override"):
        deploy(plan, workspace, target, by="ada")
    assert current(workspace) is None
    with pytest.raises(PlanError):
        deploy(plan, workspace, target, override=" ", by="ada")
    release = deploy(plan, workspace, target, override="supplier day", by="ada")
    assert [(o.reason, o.by) for o in release.overrides] == [("supplier day", "ada")]


def test_what_is_no_gguf_is_refused(
    plan: Plan, workspace: Workspace, target: Target, export: Put, tiny_models: list[Path]
) -> None:
    path = export(tiny_models[0])
    path.write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(JoshiError, match="no GGUF"):
        deploy(plan, workspace, target, by="ada")
    path.unlink()
    with pytest.raises(JoshiError, match="joshi export"):
        deploy(plan, workspace, target, by="ada")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda whole: whole[: len(whole) // 2], "past the end|cut|ends"),
        (lambda whole: b"GGUF\x03\0\0\0" + b"\xff" * 16 + whole[24:], "damaged"),
        (lambda whole: b"", "starts with"),
    ],
    ids=["truncated", "lying counts", "empty"],
)
def test_a_gguf_that_lies_is_refused(
    plan: Plan,
    workspace: Workspace,
    target: Target,
    export: Put,
    tiny_models: list[Path],
    damage: Callable[[bytes], bytes],
    says: str,
) -> None:
    path = export(tiny_models[0])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(JoshiError, match=says):
        deploy(plan, workspace, target, override="it must go out", by="ada")
    assert current(workspace) is None and not list(workspace.releases.glob("*"))


def test_two_deploys_at_once(workspace: Workspace) -> None:
    with workspace.lock(), pytest.raises(JoshiError, match=r"in use by process \d+"), workspace.lock():
        pass
    with workspace.lock(), workspace.lock("drift.lock"):  # the nightly check does not wait for training
        pass


def test_ids_sort_by_age_whatever_the_clock_says(
    plan: Plan,
    workspace: Workspace,
    target: Target,
    export: Put,
    tiny_models: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    for number, time in enumerate(("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z", "2020-01-01T00:00:00Z")):
        monkeypatch.setattr(deploys, "now", lambda time=time: time)
        export(tiny_models[number])
        made.append(deploy(plan, workspace, target, by="ada").id)
    assert made == sorted(made) and len(set(made)) == 3
    assert [one.id for one in list_releases(workspace)] == made[::-1]
    assert rollback(plan, workspace, target, by="ada") is not None


def test_a_full_disk_is_told_and_changes_nothing(
    plan: Plan,
    workspace: Workspace,
    target: Target,
    export: Put,
    tiny_models: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export(tiny_models[0])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(JoshiError, match="the disk is full"):
        deploy(plan, workspace, target, by="ada")
    assert not list(workspace.releases.iterdir()) and not (workspace.root / ".env").exists()


def test_an_env_file_that_cannot_be_written_undoes_the_switch(
    plan: Plan, workspace: Workspace, target: Target, export: Put, tiny_models: list[Path]
) -> None:
    export(tiny_models[0])
    (workspace.root / ".env").mkdir()
    with pytest.raises(JoshiError, match=r"\.env"):
        deploy(plan, workspace, target, by="ada")
    assert current(workspace) is None and not workspace.releases.joinpath("current").exists()


@pytest.mark.parametrize("step", ["_tried", "sha256_file", "write_json", "switch"])
def test_a_deploy_that_dies_changes_nothing(
    plan: Plan,
    workspace: Workspace,
    target: Target,
    export: Put,
    tiny_models: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    export(tiny_models[0])
    deploy(plan, workspace, target, by="ada")
    export(tiny_models[1])
    before = snapshot(workspace)
    real = getattr(deploys, step)

    def dies(*arguments: object, **named: object) -> object:
        if step != "sha256_file" or ".partial" in str(arguments[0]):
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(deploys, step, dies)
    with pytest.raises(KeyboardInterrupt):
        deploy(plan, workspace, target, by="ada")
    assert snapshot(workspace) == before


def test_a_switch_that_dies_half_way_is_undone(
    plan: Plan,
    workspace: Workspace,
    target: Target,
    export: Put,
    tiny_models: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export(tiny_models[0])
    first = deploy(plan, workspace, target, by="ada")
    export(tiny_models[1])

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(switching, "set_value", dies)
    with pytest.raises(KeyboardInterrupt):
        deploy(plan, workspace, target, by="ada")
    assert current(workspace) == first


def test_rollback_goes_one_back_and_verifies_bytes(
    plan: Plan, workspace: Workspace, target: Target, export: Put, tiny_models: list[Path]
) -> None:
    export(tiny_models[0])
    first = deploy(plan, workspace, target, by="ada")
    export(tiny_models[1])
    second = deploy(plan, workspace, target, by="ada")
    assert second.previous == first.id
    assert rollback(plan, workspace, target, by="ada") == first
    states = {r.id: state_of(r, current(workspace)) for r in list_releases(workspace)}
    assert states[first.id] == "current"
    (workspace.root / second.gguf).write_bytes(b"GGUF tampered")
    with pytest.raises(JoshiError, match="not the file that was released"):
        rollback(plan, workspace, target, second.id, by="ada")
    assert current(workspace) == first


def test_rollback_passes_over_a_release_that_is_damaged(
    plan: Plan, workspace: Workspace, target: Target, export: Put, tiny_models: list[Path]
) -> None:
    made = []
    for number in range(3):
        export(tiny_models[number])
        made.append(deploy(plan, workspace, target, by="ada"))
    (workspace.root / made[1].gguf).write_bytes(b"GGUF tampered")
    assert rollback(plan, workspace, target, by="ada") == made[0]


def test_rollback_works_when_the_newest_release_is_broken(
    plan: Plan, workspace: Workspace, target: Target, export: Put, tiny_models: list[Path]
) -> None:
    export(tiny_models[0])
    first = deploy(plan, workspace, target, by="ada")
    export(tiny_models[1])
    second = deploy(plan, workspace, target, by="ada")
    (workspace.releases / second.id / "release.json").write_text("{", encoding="utf-8")
    assert rollback(plan, workspace, target, by="ada") == first
    (workspace.releases / first.id / "release.json").write_text(json.dumps({"id": "x"}), encoding="utf-8")
    with pytest.raises(JoshiError, match=r"release\.json"):
        current(workspace)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "LLM_DEFAULT_MODEL=new\n"),
        ("A=1\n", "A=1\nLLM_DEFAULT_MODEL=new\n"),
        ("# c\r\nLLM_DEFAULT_MODEL=old\r\nB='x'\r\n", "# c\r\nLLM_DEFAULT_MODEL=new\r\nB='x'\r\n"),
        ("export LLM_DEFAULT_MODEL=old\n", "export LLM_DEFAULT_MODEL=new\n"),
        ('LLM_DEFAULT_MODEL="old"\n', 'LLM_DEFAULT_MODEL="new"\n'),
        ("LLM_DEFAULT_MODEL=a\nLLM_DEFAULT_MODEL=b\n", "LLM_DEFAULT_MODEL=a\nLLM_DEFAULT_MODEL=new\n"),
        ("#LLM_DEFAULT_MODEL=old\n", "#LLM_DEFAULT_MODEL=old\nLLM_DEFAULT_MODEL=new\n"),
    ],
)
def test_one_variable_changes_and_nothing_else(tmp_path: Path, before: str | None, after: str) -> None:
    path = tmp_path / ".env"
    if before is not None:
        path.write_bytes(before.encode())
    set_value(path, "LLM_DEFAULT_MODEL", "new")
    assert path.read_bytes().decode() == after
    assert read_value(path, "LLM_DEFAULT_MODEL") == "new"


def test_what_needs_quotes_gets_them_and_a_variable_can_be_taken_out_again(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"A=1\r\nexport B=old # note\r\n")
    set_value(path, "B", '{"Agent": "phi4-joshi"}')
    set_value(path, "C", '{"Agent": "phi4-joshi"}')
    assert path.read_bytes() == (
        b'A=1\r\nexport B=\'{"Agent": "phi4-joshi"}\' # note\r\nC=\'{"Agent": "phi4-joshi"}\'\r\n'
    )
    assert read_value(path, "B") == read_value(path, "C") == '{"Agent": "phi4-joshi"}'
    unset(path, "C")
    unset(path, "nothing")
    assert path.read_bytes().endswith(b"# note\r\n")
    with pytest.raises(JoshiError, match="one line without"):
        set_value(path, "C", "it's")


def test_a_symlink_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.env").write_text("LLM_DEFAULT_MODEL=old\n", encoding="utf-8")
    (tmp_path / ".env").symlink_to("real.env")
    set_value(tmp_path / ".env", "LLM_DEFAULT_MODEL", "new")
    assert (tmp_path / ".env").is_symlink()
    assert (tmp_path / "real.env").read_text(encoding="utf-8") == "LLM_DEFAULT_MODEL=new\n"


@given(
    st.lists(st.sampled_from(["A=1", "# note", "", "B='two words'", "LLM_DEFAULT_MODEL=old", "export C=3"]), max_size=6)
)
def test_other_lines_are_kept(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("env") / ".env"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    set_value(path, "LLM_DEFAULT_MODEL", "new")
    kept = [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("LLM_DEFAULT_MODEL=new")
    ]
    others = [line for line in lines if line != "LLM_DEFAULT_MODEL=old"]
    assert [line for line in kept if line != "LLM_DEFAULT_MODEL=old"] == others
