"""A model in an Ollama store is found with all its layers, and nothing outside the store is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.base.ollama import find_model
from joshi.errors import JoshiError, Unavailable

LAYER = "application/vnd.ollama.image."


def pulled(store: Path, layers: list[tuple[str, bytes]], name: str = "registry.ollama.ai/library/phi4/latest") -> Path:
    """A store as `ollama pull` leaves it; the manifest's path."""
    (store / "blobs").mkdir(parents=True, exist_ok=True)
    listed = []
    for kind, content in layers:
        digest = hashlib.sha256(content).hexdigest()
        (store / "blobs" / f"sha256-{digest}").write_bytes(content)
        listed.append({"mediaType": LAYER + kind, "digest": f"sha256:{digest}", "size": len(content)})
    manifest = store / "manifests" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": listed}))
    return manifest


def find(store: Path, name: str) -> Any:
    return find_model(name, {"OLLAMA_MODELS": str(store)})


def test_every_layer_is_read(tmp_path: Path, smollm2: GgufFile) -> None:
    pulled(tmp_path, [
        ("model", smollm2.path.read_bytes()), ("template", b"{{ .Prompt }}"), ("system", "Sei höflich.".encode()),
        ("params", b'{"stop": ["<|im_end|>"], "num_ctx": 4096}'), ("license", b"MIT"), ("license", b"and more"),
    ])  # fmt: skip
    found = find(tmp_path, "phi4")
    assert found.template == "{{ .Prompt }}"
    assert found.system == "Sei höflich."
    assert found.parameters == {"stop": ["<|im_end|>"], "num_ctx": 4096}
    assert found.licences == ["MIT", "and more"]
    base = find_base("ollama:phi4:latest", tmp_path, {"OLLAMA_MODELS": str(tmp_path)})
    assert base.header.metadata == smollm2.header.metadata


def test_names_with_tag_namespace_and_host(tmp_path: Path) -> None:
    for name, place in (
        ("phi4", "registry.ollama.ai/library/phi4/latest"),
        ("phi4:14b-q8_0", "registry.ollama.ai/library/phi4/14b-q8_0"),
        ("team/phi4", "registry.ollama.ai/team/phi4/latest"),
        ("hf.co/team/phi4:Q4_K_M", "hf.co/team/phi4/Q4_K_M"),
    ):
        pulled(tmp_path, [("model", name.encode())], place)
        assert find(tmp_path, name).weights.read_bytes() == name.encode()


@pytest.mark.parametrize("name", ["", "../phi4", "a/b/c/d", "phi4:", "phi4:../x", "phi 4", "/phi4"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises((JoshiError, Unavailable), match=r"is no name of an Ollama model|no such model"):
        find(tmp_path, name)


def test_missing_model_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=f"{tmp_path}.*ollama pull phi4:latest"):
        find(tmp_path, "phi4")


def test_tampered_weights_are_refused(tmp_path: Path) -> None:
    pulled(tmp_path, [("model", b"weights")])
    blob = find(tmp_path, "phi4").weights
    blob.write_bytes(b"tampered")
    with pytest.raises(JoshiError, match="does not have the sha256 in its name"):
        find(tmp_path, "phi4")
    blob.unlink()
    with pytest.raises(JoshiError, match="is missing; pull the model again"):
        find(tmp_path, "phi4")


def test_a_digest_cannot_leave_the_store(tmp_path: Path) -> None:
    manifest = pulled(tmp_path, [("model", b"weights")])
    for digest in ("sha256:../../../etc/passwd", "md5:" + "0" * 64, None):
        manifest.write_text(json.dumps({"layers": [{"mediaType": LAYER + "model", "digest": digest}]}))
        with pytest.raises(JoshiError, match="is no Ollama manifest"):
            find(tmp_path, "phi4")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (("params", b"stop: x"), "its parameters are not readable"),
        (("params", b"[1]"), "its parameters are not readable"),
        (("template", b"\xff\xfe"), "is not UTF-8"),
        (("system", b"x" * 2_000_000), "far more than a text layer"),
    ],
)
def test_damaged_layers_are_one_sentence(tmp_path: Path, layer: tuple[str, bytes], message: str) -> None:
    pulled(tmp_path, [("model", b"weights"), layer])
    with pytest.raises(JoshiError, match=message):
        find(tmp_path, "phi4")
