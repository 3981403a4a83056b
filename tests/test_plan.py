"""The plan: all errors at once, each with the key and the next step; precedence; plans that cannot do what they say."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joshi.cli import main, session
from joshi.errors import PlanError
from joshi.plan import Plan
from joshi.plan_check import check_plan, highest_rate, steps_of, warmup_of
from joshi.plan_file import LoadedPlan, load_plan
from joshi.plan_gates import GATES


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


# Gates


def gates(toml: str, folder: Path, environment: dict[str, str] | None = None, **flags: str) -> LoadedPlan:
    flags = {name.replace("__", "."): value for name, value in flags.items()}
    return load_plan(write(folder, toml), environment or {}, flags)


def test_a_gate_is_a_number_or_a_table_over_the_defaults(tmp_path: Path) -> None:
    loaded = gates(
        "[evaluation.gates]\nleak_rate = 0.05\nmemorised = { required = true }\n"
        "[evaluation.gates.toxic_rate]\nbound = 0.2\nminimum = 50\n",
        tmp_path,
    )
    found = loaded.plan.evaluation.gates
    assert list(found) == list(GATES)
    assert found["leak_rate"] == GATES["leak_rate"].model_copy(update={"bound": 0.05})
    assert found["memorised"] == GATES["memorised"].model_copy(update={"required": True})
    assert found["toxic_rate"] == GATES["toxic_rate"].model_copy(update={"bound": 0.2, "minimum": 50})
    assert all(found[name] == GATES[name] for name in GATES if name not in ("leak_rate", "memorised", "toxic_rate"))
    sources = loaded.sources
    assert sources["evaluation.gates.leak_rate.bound"] == "joshi.toml"
    assert sources["evaluation.gates.leak_rate.minimum"] == "default"
    assert sources["evaluation.gates.toxic_rate.minimum"] == "joshi.toml"
    # A plan that is written out and read again is the same.
    assert Plan.model_validate(loaded.plan.model_dump(mode="json")) == loaded.plan
    assert Plan().evaluation.gates == GATES


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("leak_rat = 0.1", "no gate is called 'leak_rat'; did you mean leak_rate?"),
        ("zzz = 0.1", "no gate is called 'zzz'; there are p90_tokens, all_rules, lead, against_release"),
        ("leak_rate = { bond = 0.1 }", "[evaluation] gates.leak_rate.bond is unknown; did you mean bound?"),
        ('leak_rate = "much"', "[evaluation] gates.leak_rate.bound: "),
        ('leak_rate = { direction = "above" }', "[evaluation] gates.leak_rate.direction: "),
        ("leak_rate = { minimum = -1 }", "[evaluation] gates.leak_rate.minimum: "),
        ("leak_rate = [0.1]", "[evaluation] gates.leak_rate.bound: "),
    ],
)
def test_a_wrong_gate_is_one_sentence_with_a_hint(toml: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as error:
        gates(f"[evaluation.gates]\n{toml}\n", tmp_path)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(PlanError, match="expected a table such as leak_rate = "):
        gates("[evaluation]\ngates = 3\n", tmp_path)


@pytest.mark.parametrize(
    "toml",
    [
        "[evaluation]\np90_tokens = 120\n",
        "[evaluation.gates]\np90_tokens = 120\n",
        "[evaluation.gates]\np90_tokens = { bound = 120 }\n",
        "[evaluation]\np90_tokens = 120\n[evaluation.gates]\np90_tokens = { minimum = 20 }\n",
        "[evaluation]\np90_tokens = 120\n[evaluation.gates]\np90_tokens = 120\n",
    ],
)
def test_p90_tokens_is_the_same_wherever_it_is_written(toml: str, tmp_path: Path) -> None:
    evaluation = gates(toml, tmp_path).plan.evaluation
    assert (evaluation.p90_tokens, evaluation.gates["p90_tokens"].bound) == (120, 120)
    for flag in ("evaluation__p90_tokens", "evaluation__gates__p90_tokens"):
        evaluation = gates("", tmp_path, **{flag: "90"}).plan.evaluation
        assert (evaluation.p90_tokens, evaluation.gates["p90_tokens"].bound) == (90, 90)


def test_a_gate_may_be_set_by_flag_and_environment(tmp_path: Path) -> None:
    toml = "[evaluation.gates]\nleak_rate = 0.1\nall_rules = 0.6\n"
    environment = {
        "JOSHI_EVALUATION__GATES__LEAK_RATE": "0.5",
        "JOSHI_EVALUATION__GATES__ALL_RULES__MINIMUM": "5",
        "JOSHI_EVALUATION__GATES__LEAD": "0.3",
    }
    loaded = gates(toml, tmp_path, environment, evaluation__gates__lead="0.2", evaluation__gates__memorised__bound="1")
    found, sources = loaded.plan.evaluation.gates, loaded.sources
    assert found["leak_rate"] == GATES["leak_rate"].model_copy(update={"bound": 0.5})
    assert found["all_rules"] == GATES["all_rules"].model_copy(update={"bound": 0.6, "minimum": 5})
    assert (found["lead"].bound, found["memorised"].bound) == (0.2, 1)
    assert sources["evaluation.gates.leak_rate.bound"] == "environment JOSHI_EVALUATION__GATES__LEAK_RATE"
    assert sources["evaluation.gates.all_rules.minimum"] == "environment JOSHI_EVALUATION__GATES__ALL_RULES__MINIMUM"
    assert sources["evaluation.gates.lead.bound"] == "flag"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["joshi", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_plan_show_prints_gates_and_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "[evaluation.gates]\nleak_rate = 0.1\ntoxic_rate = { required = false }\n")
    monkeypatch.setenv("JOSHI_EVALUATION__GATES__LEAD", "0.25")
    flags = ("-w", str(tmp_path), "--set", "evaluation.gates.leak_rate=0.5", "plan", "show")
    assert command(monkeypatch, *flags, "--json") == 0
    rows: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert rows["evaluation.gates.leak_rate.bound"] == {"value": 0.5, "source": "flag"}
    assert rows["evaluation.gates.toxic_rate.required"] == {"value": False, "source": "joshi.toml"}
    assert rows["evaluation.gates.lead.bound"]["source"] == "environment JOSHI_EVALUATION__GATES__LEAD"
    assert rows["evaluation.gates.all_rules.minimum"] == {"value": 20, "source": "default"}
    assert rows["evaluation.endpoints"]["value"] == []
    monkeypatch.setattr(session.out, "width", 160)
    assert command(monkeypatch, *flags) == 0
    assert "evaluation.gates.leak_rate.bound" in capsys.readouterr().out


# Endpoints


def endpoint(**keys: str) -> str:
    section = {"name": "other", "url": "http://127.0.0.1:11434", "model": "phi4"} | keys
    return "[[evaluation.endpoints]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in section.items())


@pytest.mark.parametrize("name", ["base", "base_with_rules", "sft", "shipped", "other"])
def test_endpoints_must_have_names_of_their_own(name: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=f"two systems would be called '{name}'; give each endpoint a name of its own"):
        load_plan(write(tmp_path, endpoint() + endpoint(name=name)), {})
    assert len(load_plan(write(tmp_path, endpoint() + endpoint(name="third")), {}).plan.evaluation.endpoints) == 2


JUDGE = "[evaluation.judge]"


@pytest.mark.parametrize("of", [lambda text: text, lambda text: text.replace("[[evaluation.endpoints]]", JUDGE)])
@pytest.mark.parametrize("key", ["sk-live-0123", "MY_KEY", "env:", "env:MY KEY", "env:MY-KEY", "env:A\n", ""])
def test_a_key_stands_in_the_environment_and_never_in_the_plan(
    key: str, of: Callable[[str], str], tmp_path: Path
) -> None:
    assert load_plan(write(tmp_path, of(endpoint(key="env:MY_KEY"))), {})
    with pytest.raises(PlanError, match=r"\[evaluation\] .*key: "):
        load_plan(write(tmp_path, of(endpoint(key=key))), {})


@pytest.mark.parametrize("keys", [{"url": "127.0.0.1:11434"}, {"url": "ftp://x"}, {"name": "My model"}, {"model": ""}])
def test_a_wrong_endpoint_is_named_by_its_key(keys: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=rf"\[evaluation\] endpoints\.0\.{next(iter(keys))}: "):
        load_plan(write(tmp_path, endpoint(**keys)), {})


def test_a_flag_changes_a_gates_bound_and_keeps_the_rest_of_its_table(tmp_path: Path) -> None:
    path = tmp_path / "joshi.toml"
    path.write_text("[evaluation.gates]\nall_rules = { bound = 0.1, minimum = 1 }\n", encoding="utf-8")
    gate = load_plan(path, {}, {"evaluation.gates.all_rules": "1.0"}).plan.evaluation.gates["all_rules"]
    assert (gate.bound, gate.minimum) == (1.0, 1)
