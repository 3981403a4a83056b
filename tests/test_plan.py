"""The plan: all errors at once, each with the key and the next step; precedence; plans that cannot do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joshi.errors import PlanError
from joshi.plan import Plan, load_plan
from joshi.plan_check import check_plan, highest_rate, steps_of, warmup_of


def write(folder: Path, text: str) -> Path:
    path = folder / "joshi.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_the_humanization_plans() -> None:
    plan = Plan()
    assert (plan.sft.rank, plan.sft.alpha, plan.sft.learning_rate, plan.sft.batch_size) == (64, 16, 2e-4, 128)
    assert (plan.evaluation.p90_tokens, plan.preference.length_limit) == (160, 180)
    assert (plan.release.temperature, plan.release.top_p) == (0.2, 0.9)
    assert plan.curation.sft_samples == (200, 800)


def test_every_wrong_key_is_told_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    path = write(tmp_path, '[sft]\nlearing_rate = 1e-4\nrank = "many"\n[modle]\nname = "x"\n')
    with pytest.raises(PlanError) as error:
        load_plan(path, {})
    message = str(error.value)
    assert "joshi.toml: [sft] learing_rate is unknown; did you mean learning_rate?" in message
    assert "[sft] rank: " in message
    assert "'many'" in message
    assert "modle is unknown; did you mean model?" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[curation]\nsft_samples = [800, 200]\n", "fewest <= most"),
        ('[model]\nbase = "phi4"\n', "[model] base"),
        ("seed = -1\n", "seed"),
        ("[sft\n", "is not a TOML file"),
    ],
)
def test_wrong_values_are_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(PlanError) as error:
        load_plan(write(tmp_path, text), {})
    assert words in str(error.value)


def test_a_missing_plan_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="joshi init"):
        load_plan(tmp_path / "joshi.toml", {})


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    path = write(tmp_path, "[sft]\nrank = 8\nalpha = 9\nepochs = 2\n")
    environment = {"JOSHI_SFT__ALPHA": "10", "JOSHI_SFT__EPOCHS": "5", "HOME": "/"}
    loaded = load_plan(path, environment, {"sft.epochs": "7"})
    sft = loaded.plan.sft
    assert (sft.rank, sft.alpha, sft.epochs, sft.batch_size) == (8, 10, 7, 128)
    sources = [loaded.sources[f"sft.{key}"] for key in ("rank", "alpha", "epochs", "batch_size")]
    assert sources == ["joshi.toml", "environment JOSHI_SFT__ALPHA", "flag", "default"]


def test_a_warm_up_that_never_ends_is_found() -> None:
    notes = check_plan(Plan(), samples=400)
    assert any("9 steps" in note and "warmup_steps = 100" in note and "0 warm-up steps" in note for note in notes)
    assert any("teach little" in note for note in notes)
    calm = Plan.model_validate({"sft": {"batch_size": 4, "warmup_steps": 5}, "release": {"num_ctx": 8192}})
    assert check_plan(calm, samples=400) == []


@given(st.integers(1, 2000), st.integers(1, 256), st.integers(1, 5), st.integers(0, 500))
def test_warm_up_is_at_most_a_tenth_unless_strict(samples: int, batch: int, epochs: int, wanted: int) -> None:
    steps = steps_of(samples, batch, epochs)
    assert steps * batch >= samples * epochs
    assert warmup_of(steps, wanted, strict=False) <= max(steps / 10, 0)
    assert warmup_of(steps, wanted, strict=True) == wanted
    assert 0 <= highest_rate(1.0, wanted, steps) <= 1.0


def test_only_the_named_sections_decide_a_stages_key() -> None:
    plan = Plan()
    other = plan.model_copy(update={"sft": plan.sft.model_copy(update={"rank": 8})})
    assert plan.sha256("curation") == other.sha256("curation")
    assert plan.sha256("sft") != other.sha256("sft")
    assert plan.sha256() != other.sha256()
