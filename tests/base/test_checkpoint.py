"""A checkpoint of transformers becomes a GGUF that llama.cpp and training read alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from gguf import GGMLQuantizationType as Type

from joshi.base.checkpoint import convert
from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.base.tokenizer import chat_tokenizer
from joshi.base.weights import load_model
from joshi.errors import JoshiError, Unavailable
from joshi.llama import running
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer
from joshi.schema import Message

from .checkpoints import PHI4_TEMPLATE, phi4_tokenizer, save

TEXTS = [
    "Could you confirm 12,450 by 14 March?", "  two  spaces\n\n\nand lines\t", "Straße, naïve café — “quoted” 東京 🙂",
    "it's we'll I'D o'clock", "x" * 70 + "1234567890", "",
]  # fmt: skip


@pytest.fixture(scope="module", params=["phi3", "llama"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tokenizer: ChatTokenizer
) -> tuple[Path, Any, GgufFile]:
    """The folder, its model and its GGUF: a tiny Phi-4, and a tiny Llama with tied embeddings."""
    folder = tmp_path_factory.mktemp(request.param) / "tiny"
    if request.param == "phi3":
        model = save(folder, "phi3", phi4_tokenizer(), PHI4_TEMPLATE, torch.bfloat16)
    else:
        tokenizer.tokenizer.encode_special_tokens = False
        model = save(
            folder, "llama", tokenizer.tokenizer, tokenizer.template, torch.float16, tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 50_000.0},
        )  # fmt: skip
    return folder, model, find_base(f"hf:{folder}", folder.parent)


def test_weights_come_through_bit_for_bit(both: tuple[Path, Any, GgufFile]) -> None:
    _, model, file = both
    ours, theirs = load_model(file).state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert {t.kind for t in file.tensors if len(t.shape) == 1} == {Type.F32}
    assert {t.kind for t in file.tensors if len(t.shape) == 2} < {Type.BF16, Type.F16}


def test_training_and_llama_cpp_see_one_model(both: tuple[Path, Any, GgufFile]) -> None:
    _, model, file = both
    ids = torch.randint(0, 2000, (1, 48), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(load_model(file).eval()(ids).logits, model(ids).logits, atol=1e-4)
        expected = model(ids).logits[0, -1].log_softmax(-1)
    assert_llama_cpp_agrees(file, ids, expected)


def assert_llama_cpp_agrees(file: GgufFile, ids: torch.Tensor, expected: torch.Tensor) -> None:
    """On what comes after the tokens; its bf16 products round activations too."""
    with running(file.path, Plan()) as address, httpx.Client(base_url=address, timeout=60) as client:
        body = {"prompt": ids[0].tolist(), "n_predict": 1, "n_probs": 20, "temperature": 0, "cache_prompt": False}
        found = client.post("/completion", json=body).json()["completion_probabilities"][0]["top_logprobs"]
    assert max(abs(one["logprob"] - float(expected[one["id"]])) for one in found) < 0.05
    assert found[0]["id"] == int(expected.argmax())


LONG = {"long_factor": [4.0 + k for k in range(8)], "short_factor": [1.0 + k / 8 for k in range(8)]}
SCALED: dict[str, tuple[str, int, dict[str, Any]]] = {  # architecture, longest context, rope
    "llama 3.1": (
        "llama", 131_072,
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 64, "rope_theta": 10_000.0},
    ),
    "linear": ("llama", 4096, {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}),
    "longrope within the original window": (
        "phi3", 131_072, {"rope_type": "longrope", **LONG, "original_max_position_embeddings": 8192}
    ),
    "longrope beyond it": ("phi3", 131_072, {"rope_type": "longrope", **LONG, "original_max_position_embeddings": 32}),
    "half of each head": ("phi3", 4096, {"rope_type": "default", "partial_rotary_factor": 0.5}),
}  # fmt: skip


@pytest.mark.parametrize("name", SCALED)
def test_rope_turns_alike_in_transformers_in_training_and_in_llama_cpp(name: str, tmp_path: Path) -> None:
    architecture, longest, rope = SCALED[name]
    rope = {"rope_theta": 10_000.0, **rope}
    model = save(
        tmp_path / "tiny", architecture, phi4_tokenizer(), PHI4_TEMPLATE, torch.bfloat16,
        max_position_embeddings=longest, rope_parameters=rope,
        **({} if architecture == "llama" else
           {"original_max_position_embeddings": rope.get("original_max_position_embeddings", longest)}),
    )  # fmt: skip
    plan = Plan()
    file = find_base(f"hf:{tmp_path / 'tiny'}", tmp_path)
    ids = torch.randint(0, 2000, (1, 200), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(ids).logits
        ours = load_model(file, window=plan.release.num_ctx).eval()(ids).logits
        plain = load_model(file).eval()
        plain.model.rotary_emb = type(plain.model.rotary_emb)(plain.config)
        assert name == "half of each head" or not torch.allclose(plain(ids).logits, expected, atol=0.1)
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-3)
    assert_llama_cpp_agrees(file, ids, expected[0, -1].log_softmax(-1))


@pytest.mark.parametrize("factors", [None, [1.0], [0.0] * 8, ["a"] * 8])
def test_longrope_needs_a_factor_for_each_frequency(factors: Any, tmp_path: Path) -> None:
    save(tmp_path / "tiny", "phi3", phi4_tokenizer(), PHI4_TEMPLATE, torch.float32)
    rope = {"rope_type": "longrope", "long_factor": factors, "short_factor": [1.0] * 8}
    changed(tmp_path / "tiny", "config.json", rope_parameters=rope)
    with pytest.raises(JoshiError, match="long_factor"):
        find_base(f"hf:{tmp_path / 'tiny'}", tmp_path)


def test_llama_cpp_tokenises_alike(both: tuple[Path, Any, GgufFile]) -> None:
    _, _, file = both
    chat = chat_tokenizer(file)
    prompt = chat.render([Message(role="system", content="Be brief."), Message(role="user", content="Hello?")])
    with running(file.path, Plan()) as address, httpx.Client(base_url=address, timeout=60) as client:
        for text, special in [*((text, False) for text in TEXTS), (prompt, True)]:
            wanted = {"content": text, "parse_special": special, "add_special": False}
            chat.tokenizer.encode_special_tokens = not special
            assert client.post("/tokenize", json=wanted).json()["tokens"] == chat.tokenizer.encode(text).ids


def test_it_is_converted_once_and_again_when_it_changes(both: tuple[Path, Any, GgufFile]) -> None:
    folder, _, file = both
    made = file.path.stat().st_mtime_ns
    assert find_base(f"hf:{folder}", folder.parent).path.stat().st_mtime_ns == made
    config = folder / "generation_config.json"
    config.write_text("{}")
    assert find_base(f"hf:{folder}", folder.parent).path != file.path


def changed(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("config.json", {"model_type": "qwen2"}, "model_type 'qwen2' cannot be trained"),
        ("config.json", {"rope_scaling": {"type": "yarn"}, "rope_parameters": None}, r"scaled rope \(yarn\)"),
        (
            "config.json",
            {"rope_scaling": {"type": "longrope"}, "rope_parameters": None},
            "not supported in a llama model",
        ),
        ("config.json", {"rope_parameters": {"rope_type": "linear"}}, "lacks factor"),
        ("config.json", {"rope_parameters": {"partial_rotary_factor": 0.3}}, "turns 4 of a head's 16"),
        ("config.json", {"rope_parameters": {"partial_rotary_factor": 1.5}}, "turns 24 of a head's 16"),
        ("config.json", {"head_dim": 64}, "heads that do not divide"),
        ("config.json", {"attention_bias": True}, "biases is not supported"),
        ("config.json", {"rms_norm_eps": None}, r"config\.json lacks rms_norm_eps"),
        ("config.json", {"num_attention_heads": 0}, "has '0' as num_attention_heads"),
        ("config.json", {"hidden_size": "wide"}, "has 'wide' as hidden_size"),
        ("config.json", {"num_attention_heads": 3, "head_dim": None}, "has the shape"),
        ("config.json", {"rope_parameters": [], "rope_theta": [1]}, r"has '\[1\]' as rope_theta"),
        ("tokenizer.json", {"model": [1]}, r"tokenizer\.json is damaged"),
        ("tokenizer.json", {"added_tokens": [{"id": "x", "content": "a", "special": True}]}, "is damaged"),
        ("tokenizer_config.json", {"eos_token": ["a"]}, "is damaged"),
        ("config.json", {"vocab_size": 100}, "the embedding has 100 rows"),
        ("tokenizer.json", {"model": {"type": "Unigram"}}, "tokenizer Unigram is not supported"),
        ("tokenizer.json", {"model": {"type": "BPE"}}, "tokenizer.json is damaged"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "splits text in a way that is not known"),
    ],
)
def test_what_would_go_wrong_later_is_refused(name: str, values: dict[str, Any], message: str, tmp_path: Path) -> None:
    save(tmp_path / "tiny", "llama", phi4_tokenizer(), PHI4_TEMPLATE, torch.float32)
    changed(tmp_path / "tiny", name, **values)
    with pytest.raises(JoshiError, match=message):
        convert(tmp_path / "tiny", tmp_path / "out.gguf")
    assert not list(tmp_path.glob("*.gguf*"))


def test_damaged_and_missing_files_are_one_sentence(tmp_path: Path) -> None:
    folder, out = tmp_path / "tiny", tmp_path / "out.gguf"
    save(folder, "llama", phi4_tokenizer(), PHI4_TEMPLATE, torch.float32)
    shard = min(folder.glob("*.safetensors"))
    whole = shard.read_bytes()
    for content in (whole[:100], b"\x80\x04pickle", b"\xff" * 8 + whole[8:]):
        shard.write_bytes(content)
        with pytest.raises(JoshiError, match=rf"{shard.name} is damaged"):
            convert(folder, out)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04pickle")
    with pytest.raises(JoshiError, match="pickles can run code"):
        convert(folder, out)
    (folder / "config.json").write_text("[]")
    with pytest.raises(JoshiError, match=r"config\.json cannot be read"):
        convert(folder, out)
    assert not list(tmp_path.glob("*.gguf*"))


def test_a_repository_is_not_downloaded_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Unavailable, match="set HF_HUB_OFFLINE=0 to download"):
        find_base("hf:microsoft/phi-4", tmp_path)
