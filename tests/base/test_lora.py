"""An adapter belongs to the bytes that it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from joshi.base.gguf_file import GgufFile
from joshi.base.lora import Adapter, require_base, write_adapter
from joshi.errors import JoshiError

ONE, OTHER = "a" * 64, "b" * 64


def test_an_adapter_of_other_bytes_is_refused_even_if_the_shapes_fit(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"base_sha256": ONE}), encoding="utf-8")
    require_base(tmp_path, ONE)
    with pytest.raises(JoshiError, match=r"trained on a base with sha256 aaaaaaaaaaaaaaaa….* name that base again"):
        require_base(tmp_path, OTHER)


def test_an_adapter_made_elsewhere_is_judged_by_its_shapes_alone(smollm2: GgufFile, tmp_path: Path) -> None:
    """Without run.json its bytes are nobody's: a wrong shape is refused all the same."""
    require_base(tmp_path, ONE)
    narrow = {"a": (4, 64), "b": (576, 4)}  # the base's first projection reads 576 numbers
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    made_elsewhere = Adapter.of(
        {f"{stem}.lora_{name.upper()}.weight": np.zeros(shape, np.float32) for name, shape in narrow.items()}, 1.0
    )
    with pytest.raises(JoshiError, match=r"is 576x64, the base's is 576x576: it belongs to another base"):
        write_adapter(smollm2, made_elsewhere, tmp_path / "adapter.gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"base_sha256"'])
def test_a_damaged_record_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(JoshiError, match=r"run\.json does not say which base .* train it again"):
        require_base(tmp_path, ONE)
