"""An adapter belongs to the bytes that it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from joshi.base.lora import require_base
from joshi.errors import JoshiError

ONE, OTHER = "a" * 64, "b" * 64


def test_an_adapter_of_other_bytes_is_refused_even_if_the_shapes_fit(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"base_sha256": ONE}), encoding="utf-8")
    require_base(tmp_path, ONE)
    with pytest.raises(JoshiError, match=r"trained on a base with sha256 aaaaaaaaaaaaaaaa….* name that base again"):
        require_base(tmp_path, OTHER)


def test_an_adapter_made_elsewhere_is_judged_by_its_shapes_alone(tmp_path: Path) -> None:
    require_base(tmp_path, ONE)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"base_sha256"'])
def test_a_damaged_record_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(JoshiError, match=r"run\.json does not say which base .* train it again"):
        require_base(tmp_path, ONE)
