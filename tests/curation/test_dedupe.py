"""Duplicates: as the plain definition has them, whatever the order of comparison, and across dataset versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joshi.curation.dedupe import MISS, Frozen, banding, duplicates, frozen_answers, keys, shingles
from joshi.schema import Sample, to_jsonl
from tests.conftest import sample_of

LONG = "Steel jumping twice in a quarter is hard on any mill and the date you name works well for us here"


def by_definition(samples: Sequence[Sample], jaccard: float, frozen: Sequence[Frozen] = ()) -> dict[str, str]:
    """Every answer against every one that was kept: quadratic, with nothing to get wrong."""
    ids = {answer.id for answer in frozen}
    kept: list[tuple[str, str]] = []
    repeated: dict[str, str] = {}

    def take(some: Sequence[Sample]) -> None:
        for sample in some:
            own = shingles(sample.ideal_answer)
            for name, text in kept:
                other = shingles(text)
                if len(own & other) / len(own | other) >= jaccard:
                    repeated[sample.id] = name
                    break
            else:
                kept.append((sample.id, sample.ideal_answer))

    take([sample for sample in samples if sample.id in ids])
    kept += [(answer.name, answer.text) for answer in frozen]
    take([sample for sample in samples if sample.id not in ids])
    return repeated


# Few words in long runs, with small changes: shares of all sizes, many near the plan's.
answers = st.one_of(
    st.sampled_from(["", " ", "👍", "…", "1,250", "Yes.", "yes", "Yes please", LONG, LONG + " now", LONG.upper()]),
    st.lists(st.sampled_from("we can ship steel on friday for you".split()), max_size=12).map(" ".join),
    st.tuples(st.integers(0, 19), st.sampled_from(["", "soon", "then we", "1,250"])).map(
        lambda change: " ".join([*LONG.split()[: change[0]], change[1], *LONG.split()[change[0] :]])
    ),
)


@given(st.lists(answers, max_size=14), st.lists(answers, max_size=4), st.sampled_from([0.3, 0.5, 0.8, 0.95, 1.0]))
@settings(deadline=None, max_examples=150)
def test_duplicates_are_those_of_the_definition(texts: list[str], old: list[str], jaccard: float) -> None:
    samples = [sample_of(text, name=f"talk{number}") for number, text in enumerate(texts)]
    # Every other frozen answer is of a sample of this run, perhaps with a text that a reviewer changed.
    frozen = [Frozen(f"talk{number if number % 2 else 100 + number}/1", 1, text) for number, text in enumerate(old)]
    assert duplicates(samples, jaccard, frozen) == by_definition(samples, jaccard, frozen)


@pytest.mark.parametrize("jaccard", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_a_pair_at_the_share_is_compared_but_for_the_stated_probability(jaccard: float) -> None:
    bands, rows = banding(jaccard)
    assert (1 - jaccard**rows) ** bands <= MISS


def test_keys_agree_as_often_as_the_answers_are_alike() -> None:
    """MinHash's own property, on which the bound rests: the hashes of one band agree with probability J^rows."""
    jaccard = 0.8
    bands, rows = banding(jaccard)
    agreed = pairs = 0
    for seed in range(40):
        words = ["".join(chr(97 + int(digit)) for digit in f"{seed}{i:03}") for i in range(400)]
        one, other = " ".join(words[:360]), " ".join(words[40:])
        own, its = shingles(one), shingles(other)
        assert len(own & its) / len(own | its) == pytest.approx(0.8, abs=0.01)
        first, second = keys(one, jaccard), keys(other, jaccard)
        agreed += sum(first[i : i + 8] == second[i : i + 8] for i in range(0, 8 * bands, 8))
        pairs += bands
    assert agreed / pairs == pytest.approx(jaccard**rows, abs=0.06)


def test_answers_without_words_repeat_only_themselves() -> None:
    samples = [sample_of(text, name=name) for name, text in zip("abcde", ["👍", "…", "", "👍 ", "1,250"], strict=True)]
    assert duplicates(samples, 0.8) == {"d/1": "a/1"}


def test_short_answers_are_compared_whole() -> None:
    samples = [
        sample_of(text, name=name) for name, text in zip("abc", ["Yes please", "yes, please!", "Yes"], strict=True)
    ]
    assert duplicates(samples, 0.8) == {"b/1": "a/1"}


def test_what_is_like_a_dropped_answer_alone_is_kept() -> None:
    """b repeats a and is dropped; c is like b but not like a: nothing that is kept says what c says."""
    words = LONG.split()
    a, b, c = " ".join(words), " ".join([*words[2:], "so", "be"]), " ".join([*words[4:], "so", "be", "it", "then"])
    samples = [sample_of(text, name=name) for name, text in zip("abc", [a, b, c], strict=True)]
    assert duplicates(samples, 0.7) == {"b/1": "a/1"}


def test_a_huge_answer_is_taken_in_pieces() -> None:
    long = " ".join(
        f"{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10 % 10]}{'uvwxyz'[i // 100 % 6]}" for i in range(20_000)
    )
    samples = [sample_of(long, name="a"), sample_of(long + " more", name="b")]
    assert duplicates(samples, 0.8) == {"b/1": "a/1"}


def test_known_keys_give_the_same(make_sample: Callable[..., Sample]) -> None:
    samples = [make_sample(LONG, name="a"), make_sample(LONG + " now", name="b"), make_sample(name="c")]
    packed = b"".join(keys(sample.ideal_answer, 0.8) for sample in samples)
    assert duplicates(samples, 0.8, (), packed) == duplicates(samples, 0.8) == {"b/1": "a/1"}


def test_a_frozen_sample_stays_and_others_that_repeat_it_go(make_sample: Callable[..., Sample]) -> None:
    frozen = [Frozen("old/1", 2, LONG)]
    same, other = make_sample(LONG, name="old"), make_sample(LONG + " now", name="new")
    assert duplicates([same], 0.8, frozen) == {}
    assert duplicates([other], 0.8, frozen) == {"new/1": "old/1 of v2"}
    # Read first, the new one would drop a sample that is frozen.
    assert duplicates([other, same], 0.8, frozen) == {"new/1": "old/1"}


def test_frozen_samples_do_not_drop_each_other(make_sample: Callable[..., Sample]) -> None:
    """Both were frozen when the plan's share was higher, or one was edited: one of them must stay."""
    frozen = [Frozen("a/1", 1, LONG), Frozen("b/1", 1, LONG + " now")]
    samples = [make_sample(LONG, name="a"), make_sample(LONG + " now", name="b")]
    assert duplicates(samples, 0.8, frozen) == {"b/1": "a/1"}


def test_only_versions_that_were_frozen_and_not_withdrawn_count(
    tmp_path: Path, make_sample: Callable[..., Sample]
) -> None:
    assert frozen_answers(tmp_path / "none") == []
    first, second, never = (make_sample(text, name=text) for text in ("one", "two", "three"))
    (tmp_path / "sft_v1.jsonl").write_text(to_jsonl([first]), encoding="utf-8")
    (tmp_path / "sft_v10.jsonl").write_text(to_jsonl([first, second]), encoding="utf-8")
    (tmp_path / "sft_v11.jsonl").write_text(to_jsonl([never]), encoding="utf-8")
    for version in (1, 2, 10):  # 2 was withdrawn: its samples are deleted; 11 was killed before its manifest
        (tmp_path / f"manifest_v{version}.json").write_text("{}", encoding="utf-8")
    assert frozen_answers(tmp_path) == [Frozen("one/1", 1, "one"), Frozen("two/1", 10, "two")]
