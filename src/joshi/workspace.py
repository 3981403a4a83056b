"""Where things lie, and how they are written: whole or not at all, with the sha256 of what went in and came out."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from joshi.errors import JoshiError

_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how Rust's libraries end a message
_TORCH_WRITE = "inline_container.cc"  # where torch.save writes; its message names no cause


@dataclass(frozen=True)
class Workspace:
    """A folder with its plan and all that is made from it. `unfit` says why nothing trained here may ever ship."""

    root: Path
    unfit: str = ""

    @property
    def plan_file(self) -> Path:
        return self.root / "joshi.toml"

    @property
    def private(self) -> Path:
        return self.root / ".joshi"

    @property
    def curation(self) -> Path:
        return self.private / "curation"

    @property
    def candidates(self) -> Path:
        return self.curation / "candidates.jsonl"

    @property
    def feedback_candidates(self) -> Path:
        """Better answers that people sent from production, waiting for review like any candidate."""
        return self.curation / "feedback.jsonl"

    @property
    def rejected(self) -> Path:
        return self.curation / "rejected.jsonl"

    @property
    def sent_back(self) -> Path:
        """Answers that people found bad in production and did not write better; somebody must."""
        return self.curation / "sent_back.jsonl"

    @property
    def gave_way(self) -> Path:
        """Answers in which the model gave a secret away when it was attacked; somebody must write better ones."""
        return self.curation / "gave_way.jsonl"

    @property
    def to_rewrite(self) -> list[Path]:
        """The files of answers that may not be learned from as they are, as far as there are any."""
        return [path for path in (self.rejected, self.sent_back, self.gave_way) if path.exists()]

    @property
    def quarantine(self) -> Path:
        return self.curation / "quarantine.jsonl"

    @property
    def candidate_pairs(self) -> Path:
        return self.curation / "preferences.jsonl"

    @property
    def decisions(self) -> Path:
        """What stands of people's decisions on candidates, as the stages read it (joshi.review.refresh)."""
        return self.private / "review" / "decisions.jsonl"

    @property
    def cache(self) -> Path:
        return self.private / "cache"

    @property
    def scratch(self) -> Path:
        """What only measuring needs: it holds copies of samples, and nothing here is read by another command."""
        return self.private / "scratch"

    @property
    def learning(self) -> Path:
        return self.private / "learning"

    @property
    def database(self) -> Path:
        return self.private / "joshi.db"

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def evaluation_report(self) -> Path:
        return self.root / "reports" / "evaluation"

    def dataset(self, name: str) -> Path:
        return self.root / "datasets" / name

    def artifacts(self, model: str) -> Path:
        return self.root / "artifacts" / model

    def model(self, model: str) -> Path:
        return self.root / "models" / f"{model}.gguf"

    def released_model(self) -> Path | None:
        """The model file of the release in use, whatever its state; None if nothing is deployed or it is gone."""
        try:
            identity = (self.releases / "current").read_text(encoding="utf-8").strip()
        except OSError:
            return None
        found = sorted((self.releases / identity).glob("*.gguf")) if identity.replace("-", "").isalnum() else []
        return found[0] if len(found) == 1 else None

    def manifest_path(self, stage: str) -> Path:
        return self.private / "manifests" / f"{stage.replace(' ', '-')}.json"

    def relative(self, path: Path) -> str:
        """A name that survives moving the workspace; inputs outside it keep their file name only."""
        try:
            return path.resolve().relative_to(self.root.resolve()).as_posix()
        except ValueError:
            return f"outside:{path.name}"

    @contextlib.contextmanager
    def lock(self, what: str = "lock") -> Iterator[None]:
        """Hold the workspace for one writing command; another process is told who holds it.

        `what` is another lock than the usual one, for a command that writes only its own files and must not wait for
        hours of training.
        """
        make_folder(self.private)
        path = self.private / what
        try:
            held = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise explain(error, path) from error
        with held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                held.seek(0)
                raise JoshiError(
                    f"{self.root} is in use by process {held.read().strip() or 'unknown'}; "
                    "wait until it ends, or stop it, then run the command again"
                ) from error
            held.truncate(0)
            held.write(str(os.getpid()))
            held.flush()
            yield


def make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, path) from error
    return path


def explain(error: OSError, path: Path) -> JoshiError:
    """Say an operating-system error in a sentence with the next step."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JoshiError(f"{path}: the disk is full; nothing was changed; free some space and run again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return JoshiError(f"{path}: no permission to write; give this user write access, or use --workspace DIR")
    return JoshiError(f"{path}: {error.strerror or error}; check the path and run again")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say what went wrong in a block where a native library writes below `path`.

    Raises:
        JoshiError: for OSError, and for what safetensors and torch raise in its place; other errors pass.
    """
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error
    except Exception as error:
        number = _OS_ERROR.search(str(error))
        if number:
            raise explain(OSError(int(number[1]), os.strerror(int(number[1]))), path) from error
        if _TORCH_WRITE in str(error):
            raise explain(_why_not_writable(path), path) from error
        raise


def _why_not_writable(path: Path) -> OSError:
    """Try to write what a full disk refuses."""
    try:
        with tempfile.TemporaryFile(dir=path) as trial:
            trial.write(b"\0" * 2**20)
            trial.flush()
    except OSError as error:
        return error
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # there is room again: the failed write was undone


def require_space(folder: Path, needed: int, what: str) -> None:
    """Refuse work whose result would not fit, before hours go into it. `needed` is in bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise JoshiError(
            f"{folder}: {what} needs {needed / 1e6:,.0f} MB of disk and {free / 1e6:,.0f} MB are free; "
            "free some space and run again; nothing was changed"
        )


@contextlib.contextmanager
def atomic_path(path: Path, permissions: int = 0o644) -> Iterator[Path]:
    """Yield a path beside `path` to write to; when the block ends well it is synced and takes the name.

    `permissions` are those of a new file; one that exists keeps its own.
    """
    make_folder(path.parent)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # A file that only its owner may read (.env) stays so, from before it takes the name.
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else permissions)
        temporary.replace(path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise explain(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def clear_partial(path: Path) -> None:
    """Remove what killed commands wrote beside `path`; only for who holds the workspace's lock."""
    for abandoned in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        abandoned.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w", permissions: int = 0o644) -> Iterator[IO[Any]]:
    """Write beside `path`, fsync, rename: readers see the old file or the new one, never half of it."""
    with atomic_path(path, permissions) as beside, beside.open(mode, encoding=None if "b" in mode else "utf-8") as out:
        yield out


def sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str, permissions: int = 0o644) -> None:
    with atomic(path, permissions=permissions) as out:
        out.write(text)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_json(value: Any) -> str:
    return sha256_text(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str))


def files_below(path: Path) -> list[Path]:
    """Every file under a folder in a fixed order; the path itself if it is a file; hidden ones left out."""
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
