"""A GGUF from anywhere is read as llama.cpp's own reader sees it, or refused in one sentence."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joshi.base.gguf_file import GgufFile, chunks_of
from joshi.base.gguf_write import GgufOut, entry
from joshi.errors import JoshiError

from ..gguf_files import rewrite


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with every kind of value and a few tensors, by the reference writer."""
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 1)
    writer.add_float32("llama.eps", 1e-5)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_int64("a.signed", -3)
    writer.add_array("tokenizer.ggml.tokens", ["a", "ü", "<|im_end|>"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5])
    rows = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    writer.add_tensor("blk.0.attn_q.weight", rows)
    packed = gguf.quantize(rows, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.attn_k.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("output_norm.weight", rows[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def read(raw: bytes, folder: Path) -> GgufFile:
    path = folder / "some.gguf"
    path.write_bytes(raw)
    file = GgufFile(path)
    assert file.header
    return file


def test_reads_what_the_reference_reader_reads(smollm2: GgufFile, small: bytes, tmp_path: Path) -> None:
    for file in (smollm2, read(small, tmp_path)):
        reference = gguf.GGUFReader(file.path)
        expected = {k: field.contents() for k, field in reference.fields.items() if not k.startswith("GGUF.")}
        assert file.header.metadata == expected
        assert [t.name for t in file.tensors] == [t.name for t in reference.tensors]
        for ours, theirs in zip(file.tensors, reference.tensors, strict=True):
            assert ours.shape == tuple(reversed(theirs.shape.tolist()))
            assert (ours.offset, ours.n_bytes, ours.kind) == (theirs.data_offset, theirs.n_bytes, theirs.tensor_type)
            assert file.raw(ours).tobytes() == theirs.data.tobytes()


def test_rows_are_those_of_the_whole_tensor(smollm2: GgufFile) -> None:
    tensor = next(t for t in smollm2.tensors if t.name == "token_embd.weight")
    whole = smollm2.weights(tensor)
    assert len(list(chunks_of(tensor))) > 1
    assert (np.concatenate([smollm2.weights(tensor, rows) for rows in chunks_of(tensor)]) == whole).all()


def test_a_copy_has_the_same_bytes(smollm2: GgufFile, small: bytes, tmp_path: Path) -> None:
    for file in (smollm2, read(small, tmp_path)):
        assert rewrite(file, tmp_path / "copy.gguf", {}).path.read_bytes() == file.path.read_bytes()


def test_values_are_written_as_the_reference_reader_expects(small: bytes, tmp_path: Path) -> None:
    changed = {"text": "für", "flag": True, "number": 7, "ratio": 0.5, "list": ["a", "bc"], "llama.block_count": 2}
    copy = rewrite(read(small, tmp_path), tmp_path / "copy.gguf", changed)
    fields = gguf.GGUFReader(copy.path).fields
    assert {key: fields[key].contents() for key in changed} == changed


@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_is_read_past(data: st.DataObject, small: bytes, tmp_path: Path) -> None:
    raw = bytearray(small)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 8))
        raw[at : at + 8] = data.draw(
            st.one_of(st.binary(min_size=8, max_size=8), st.sampled_from([b"\xff" * 8, struct.pack("<Q", 10**9)]))
        )
    raw = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    try:
        file = read(bytes(raw), tmp_path)
    except JoshiError as error:
        assert "\n" not in str(error)
        return
    for tensor in file.tensors:
        assert tensor.offset > 0
        assert tensor.offset + tensor.n_bytes <= len(raw)
        assert file.raw(tensor).nbytes == tensor.n_bytes


@pytest.mark.parametrize("name", [b"general.architecture", b"blk.0."])
def test_a_name_with_a_line_break_or_a_terminals_escapes_is_refused(name: bytes, small: bytes, tmp_path: Path) -> None:
    at = small.index(name)
    with pytest.raises(JoshiError, match="characters that no name has"):
        read(small[:at] + b"\x1b[2J\n" + small[at + 5 :], tmp_path)


def test_a_file_cut_anywhere_is_refused(small: bytes, tmp_path: Path) -> None:
    for length in range(0, len(small) - 1, 7):
        with pytest.raises(JoshiError, match=r"no GGUF file|it ends inside"):
            read(small[:length], tmp_path)


def put(raw: bytes, at: int, form: str, value: int) -> bytes:
    return raw[:at] + struct.pack(form, value) + raw[at + struct.calcsize(form) :]


def test_what_cannot_be_is_named(small: bytes, tmp_path: Path) -> None:
    info = small.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight")  # dimensions, two sizes, type, offset
    second = small.index(b"blk.0.attn_k.weight") + len(b"blk.0.attn_k.weight")
    tokens = small.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens")
    for raw, message in (
        (b"PK\x03\x04" + small[4:], "is no GGUF file"),
        (put(small, 4, "<I", 9), "version 9"),
        (put(small, 8, "<Q", 10**9), "1000000000 tensors"),
        (put(small, 16, "<Q", 10**9), "1000000000 metadata entries"),
        (put(small, 24, "<Q", 10**12), "text of 1000000000000 bytes"),
        (put(small, tokens + 8, "<Q", 10**9), "claims 1000000000 elements"),
        (put(small, info, "<I", 5), "5 dimensions"),
        (put(small, info + 4, "<Q", 2**63), "which the file cannot hold"),
        (put(small, info + 4, "<Q", 0), "which the file cannot hold"),
        (put(small, info + 20, "<I", 999), "unknown type 999"),
        (put(small, info + 24, "<Q", 2**40), "it ends inside tensor blk.0.attn_q.weight"),
        (put(small, info + 24, "<Q", 3), "no multiple of 32"),
        (put(small, second + 24, "<Q", 0), "overlaps another"),
        (put(small, second + 4, "<Q", 63), "needs a multiple of 32"),
        (small.replace(b"attn_k", b"attn_q"), "have one name"),
        (small.replace("ü".encode(), b"\xff\xfe"), "not UTF-8"),
    ):
        with pytest.raises(JoshiError, match=message):
            read(raw, tmp_path)


def test_a_tensor_that_was_not_kept_is_replaced_by_the_next_try(tmp_path: Path) -> None:
    rows = np.arange(256, dtype=np.float32).reshape(4, 64)
    path = tmp_path / "out.gguf"
    with path.open("wb+") as out:
        model = GgufOut(out, [entry("general.architecture", "llama")], [("a", rows.shape), ("b", rows.shape)])
        model.write("a", gguf.GGMLQuantizationType.F32, [rows[:2], rows[2:]])
        model.write("a", gguf.GGMLQuantizationType.F16, [rows.astype(np.float16)])
        with pytest.raises(ValueError, match="b was not written"):
            model.close()
        with pytest.raises(ValueError, match="b has 1024 bytes as F32, 512 were given"):
            model.write("b", gguf.GGMLQuantizationType.F32, [rows[:2]])
    with path.open("wb+") as out:
        model = GgufOut(out, [entry("general.architecture", "llama")], [("a", rows.shape), ("b", rows.shape)])
        model.write("a", gguf.GGMLQuantizationType.F32, [rows])
        model.write("a", gguf.GGMLQuantizationType.F16, [rows.astype(np.float16)])
        model.write("b", gguf.GGMLQuantizationType.F32, [-rows])
        model.close()
    found = {t.name: t.data for t in gguf.GGUFReader(path).tensors}
    assert (found["a"] == rows).all()
    assert (found["b"] == -rows).all()
    assert path.stat().st_size < 2 * rows.nbytes
