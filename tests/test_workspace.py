"""Files are written whole or not at all; one writer at a time; stages are skipped by what went in."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.stage import Stage
from joshi.workspace import Workspace, atomic, require_space, sha256_file, write_text, writing


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic(path) as out:
        out.write("half")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["file.txt"]  # noqa: PTH208 - hidden files count too


def test_a_private_file_stays_private(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write_text(path, "SECRET=1")
    path.chmod(0o600)
    write_text(path, "SECRET=2")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "no permission"), (errno.EROFS, "no permission")],
)
def test_system_errors_are_one_sentence(tmp_path: Path, code: int, words: str) -> None:
    path = tmp_path / "file.txt"
    with pytest.raises(JoshiError, match=words), atomic(path):
        raise OSError(code, os.strerror(code))
    assert not path.exists()


def test_a_full_disk_really_leaves_nothing(tmp_path: Path) -> None:
    """A process whose files may not grow past 4 kB tries to write 1 MB."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from joshi.workspace import write_text\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "write_text(Path(sys.argv[1]), 'x' * 1_000_000)"
    )
    path = tmp_path / "big.txt"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "JoshiError" in done.stderr
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_work_that_would_not_fit_is_refused_before_it_starts(tmp_path: Path) -> None:
    require_space(tmp_path, 1, "a file")
    with pytest.raises(JoshiError, match="a file needs 1,000,000,000,000 MB of disk"):
        require_space(tmp_path, 10**18, "a file")


def test_what_native_libraries_raise_is_the_same_sentence(tmp_path: Path) -> None:
    with pytest.raises(JoshiError, match="the disk is full"), writing(tmp_path):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="of another kind"), writing(tmp_path):
        raise RuntimeError("an error of another kind")


def test_the_second_writer_is_told_who_holds_the_workspace(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with workspace.lock(), pytest.raises(JoshiError, match=f"in use by process {os.getpid()}"), workspace.lock():
        pass
    with workspace.lock():
        pass


def make_stage(source: Path) -> Stage:
    return Stage("copy", ("sft",), lambda plan, workspace: [source])


def test_a_stage_is_current_until_an_input_the_plan_or_an_output_changes(tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), Plan()
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    write_text(source, "a")
    stage = make_stage(source)
    assert stage.current(plan, workspace) is None
    run = stage.begin(plan, workspace)
    write_text(target, "b")
    manifest = run.finish([target], {"n": 1})
    assert manifest.outputs == {"out.txt": sha256_file(target)}
    assert stage.current(plan, workspace) == manifest
    other = plan.model_copy(update={"release": plan.release.model_copy(update={"port": 9})})
    assert stage.current(other, workspace) == manifest
    changed = plan.model_copy(update={"sft": plan.sft.model_copy(update={"rank": 8})})
    assert stage.current(changed, workspace) is None
    write_text(target, "tampered")
    assert stage.current(plan, workspace) is None
    write_text(target, "b")
    write_text(source, "c")
    assert stage.current(plan, workspace) is None


def test_a_missing_input_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(JoshiError, match="run the stages before it"):
        make_stage(tmp_path / "none").begin(Plan(), Workspace(tmp_path))


def test_manifests_carry_hashes_versions_seed_and_plan(tmp_path: Path) -> None:
    write_text(tmp_path / "in.txt", "a")
    manifest = make_stage(tmp_path / "in.txt").begin(Plan(), Workspace(tmp_path)).finish([], {})
    assert manifest.inputs == {"in.txt": sha256_file(tmp_path / "in.txt")}
    assert manifest.plan_sha256 == Plan().sha256()
    assert manifest.versions["joshi"]
    assert manifest.seed == 7
