"""What a model knows by heart is found and what it never saw is not; the scratch model ships nowhere."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from joshi import base, datasets, export
from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.base.lora import Adapter
from joshi.base.tensors import LINEAR
from joshi.cli import app
from joshi.curation import approve_automatically
from joshi.datasets import forget
from joshi.errors import JoshiError, PlanError
from joshi.evaluation import memorised
from joshi.evaluation.memorised import Question, Settings, answer, prepare, question, sampling_chance
from joshi.evaluation.memorised.canaries import OTHERS, SPACES, chance, draw, exposure, rank_of
from joshi.llama import running
from joshi.plan import Plan
from joshi.plan_file import load_plan
from joshi.progress import Progress
from joshi.prompt import ChatTokenizer, messages_for
from joshi.schema import to_jsonl
from joshi.training import sft
from joshi.training.adapter import load_adapter
from joshi.training.trainer import frozen_base, lora
from joshi.window import fit
from joshi.workspace import Workspace, sha256_file, write_text

from ..base.checkpoints import PHI4_TEMPLATE, phi4_tokenizer, save
from ..conftest import sample_of

PLAN = """
seed = 3
[model]
base = "hf:tiny"
system_prompt = "You buy."
[curation]
sft_samples = [4, 40]
[sft]
rank = 32
alpha = 64
dropout = 0.0
learning_rate = 1e-2
epochs = 12
batch_size = 8
measurements = 1
watch_answers = 0
max_length = 400
token_budget = 2048
[preference]
method = "none"
[release]
num_ctx = 512
[tracking]
mode = "disabled"
"""
GOODS = "bolts seals valves gloves boxes motors resin cable pallets filters paint bearings hoses".split()
SETTINGS = Settings(canaries=3, repeats=(1, 8), keep=True)


@dataclass(frozen=True)
class Measured:
    root: Path
    report: dict[str, Any]
    before: dict[str, str]  # sha256 of every file of the workspace, before
    after: dict[str, str]
    half_way: Path  # a copy of what a killed run left
    said: str

    @property
    def plan(self) -> Plan:
        return load_plan(self.root / "joshi.toml", {}).plan


def tree(root: Path) -> dict[str, str]:
    """All that is the user's own; the lock holds the last process's number."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    names = {path.relative_to(root).as_posix(): path for path in files}
    own = {name: path for name, path in names.items() if not name.startswith((".joshi/scratch/", ".joshi/lock"))}
    return {name: sha256_file(path) for name, path in own.items()}


def make_workspace(root: Path) -> Workspace:
    workspace = Workspace(root)
    write_text(workspace.plan_file, PLAN)
    save(root / "tiny", "phi3", phi4_tokenizer(), PHI4_TEMPLATE, torch.bfloat16)
    samples = [
        sample_of(
            f"Thanks for the word on the {goods}. Could you hold the price for {n + 12} days?",
            f"We must ask {n + 3}% more for the {goods} from {n + 2} May.",
            name=f"{goods}-{n}",
        )
        for n, goods in enumerate(GOODS)
    ]
    plan = load_plan(workspace.plan_file, {}).plan
    write_text(workspace.candidates, to_jsonl(map(approve_automatically, samples)))
    base.run(plan, workspace)
    datasets.run(plan, workspace)
    return workspace


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """One run that was killed at its first checkpoint and then taken up again."""
    workspace = make_workspace(tmp_path_factory.mktemp("memorised") / "workspace")
    root, plan = workspace.root, load_plan(workspace.plan_file, {}).plan
    sft.run(plan, workspace)
    before = tree(root)
    command = [sys.executable, "-m", "joshi", "-w", str(root), "memorised", "--canaries", "3", "--repeats", "1,8"]
    first = subprocess.Popen([*command, "--keep"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(root.glob(".joshi/scratch/memorised/*/.joshi/checkpoints/*/checkpoint-*/trainer_state.json")):
        assert first.poll() is None, "it ended before its first checkpoint"
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    half_way = shutil.copytree(workspace.scratch, root.parent / "half_way")
    with Path(root.parent / "said").open("w", encoding="utf-8") as out:
        report = memorised.run(plan, workspace, SETTINGS, Progress(Console(file=out, width=200)))
    return Measured(root, report, before, tree(root), half_way, (root.parent / "said").read_text(encoding="utf-8"))


def test_what_was_trained_on_often_is_known_by_heart_and_twins_are_not(measured: Measured) -> None:
    often, report = measured.report["repeats"]["8"], measured.report
    assert often["n"] == 3
    assert often["tuned"]["exposure"]["mean"] > 7
    assert (often["tuned"]["greedy"]["hits"], often["tuned"]["sampled"]["hits"]) == (3, 3)
    assert often["tuned"]["greedy"]["low"] == pytest.approx(0.025 ** (1 / 3), abs=1e-6), "Clopper-Pearson's, 3 of 3"
    assert often["tuned"]["bits"] < often["base"]["bits"] / 2
    for side in ("twin, tuned", "base", "twin, base"):
        group = report["all"][side]
        assert group["exposure"]["mean"] < 3, side
        assert group["greedy"]["hits"] == group["sampled"]["hits"] == 0, side
    assert report["repeats"]["1"]["tuned"]["exposure"]["mean"] <= often["tuned"]["exposure"]["mean"]


def test_the_report_is_bound_to_what_it_speaks_for(measured: Measured) -> None:
    root, plan, report = measured.root, measured.plan, measured.report
    assert json.loads((root / "reports/memorised/report.json").read_text(encoding="utf-8")) == report
    manifest = datasets.latest(plan, Workspace(root))
    assert manifest is not None
    assert report["plan_sha256"] == plan.sha256()
    assert report["dataset"]["sha256"] == manifest.files["sft_v1.jsonl"]
    trained = json.loads((root / ".joshi/manifests/train-sft.json").read_text(encoding="utf-8"))
    assert report["train_sft_key"] == trained["key"], "it is told of the adapter that the workspace holds"
    assert report["seed"] == 3
    assert report["versions"]["torch"]
    assert report["training"]["sequences"] == report["dataset"]["train"] + report["settings"]["copies"]


def test_nothing_of_the_workspace_changed_but_the_report(measured: Measured) -> None:
    assert measured.after.keys() - measured.before.keys() == {"reports/memorised/report.json"}
    assert {name: measured.after[name] for name in measured.before} == measured.before


def test_a_killed_run_goes_on(measured: Measured) -> None:
    assert "going on from checkpoint-" in measured.said


def adapters(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("adapter_config.json"))


def test_no_adapter_of_it_is_exported_whatever_is_copied_where(measured: Measured, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(measured.root, root)
    plan, workspace = measured.plan, Workspace(root)
    export.run(plan, workspace)
    shipped = sha256_file(workspace.model(plan.model.name))
    real = workspace.artifacts(plan.model.name) / "sft"
    kept = shutil.copytree(real, tmp_path / "real")
    finished, half_way = adapters(workspace.scratch), adapters(measured.half_way)
    assert [folder.name for folder in finished] == ["sft"]
    assert half_way
    assert {folder.name.split("-")[0] for folder in half_way} == {"checkpoint"}
    for folder in [*finished, *half_way]:
        shutil.copytree(kept, real, dirs_exist_ok=True)
        shutil.copytree(folder, real, dirs_exist_ok=True)
        for run in (export.run, export.run_sft, export.run_adapter):
            with pytest.raises(JoshiError, match=r"sft may not ship: it was trained on planted secrets by 'joshi mem"):
                run(plan, workspace)
    shutil.copytree(kept, real, dirs_exist_ok=True)
    shutil.copyfile(finished[0] / "adapter_model.safetensors", real / "adapter_model.safetensors")
    with pytest.raises(JoshiError, match="planted secrets"):
        export.run(plan, workspace)
    with pytest.raises(JoshiError, match="planted secrets"):  # nor is a preference adapter trained on top of it
        load_adapter(None, real, trainable=True)
    assert sha256_file(workspace.model(plan.model.name)) == shipped
    shutil.copytree(kept, real, dirs_exist_ok=True)
    assert Adapter.load(real).touched


def test_without_keep_nothing_is_left_and_forgetting_deletes_copies(measured: Measured, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(measured.root, root)
    workspace = Workspace(root)
    again = memorised.run(measured.plan, workspace, Settings(3, (1, 8)))  # kept: trains nothing anew
    assert again["canaries"] == measured.report["canaries"]
    assert not workspace.scratch.exists()
    write_text(workspace.scratch / "memorised" / "x" / "sft_v1.jsonl", "")
    forget.forget(forget.Found(["nobody"]), "asked", measured.plan, workspace)
    assert not workspace.scratch.exists()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.data())
@settings(deadline=None)
def test_exposure_is_what_counting_the_whole_space_gives(space: list[int], data: st.DataObject) -> None:
    """Section 4.2's definition by its rank, and its other form, -log2 of the share that is at least as likely."""
    own = data.draw(st.integers(0, len(space) - 1))
    others = [value for i, value in enumerate(space) if i != own]
    share = sum(value <= space[own] for value in space) / len(space)
    assert exposure(rank_of(space[own], others), len(space)) == pytest.approx(-math.log2(share))


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_sample_of_the_space_estimates_its_exposure(share: float) -> None:
    """The secret is one of its own candidates, which makes the share, and the exposure, a little too cautious."""
    rng = np.random.default_rng(0)
    space = rng.normal(30, 5, 100_000)
    own = float(np.quantile(space, share))
    found = [exposure(rank_of(own, rng.choice(space, OTHERS).tolist()), OTHERS + 1) for _ in range(300)]
    expected = (1 + OTHERS * share) / (OTHERS + 1)
    assert np.mean(np.exp2(-np.array(found))) == pytest.approx(expected, rel=0.05)
    assert -math.log2(expected) < exposure(int(share * len(space)), len(space))


@pytest.mark.parametrize("n", [1, 2, 5, 202, 100_000])
def test_chance_is_the_mean_over_all_ranks(n: int) -> None:
    assert chance(n) == pytest.approx(np.mean(np.log2(n) - np.log2(np.arange(1, n + 1))), abs=1e-9)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_no_two_numbers_of_a_space_make_one_secret(space: Any) -> None:
    numbers = range(0, space.size, max(1, space.size // 5_000))
    assert len({space.write(number) for number in numbers}) == len(numbers)
    assert all(space.write(number) for number in (0, space.size - 1))
    assert len(space.write(0)) == len(space.write(space.size - 1))


def test_canaries_stand_in_the_prompts_of_real_samples(tokenizer: ChatTokenizer) -> None:
    plan = Plan.model_validate({"model": {"base": "builtin:smollm2"}})
    samples = [sample_of(message=f"[PERSON_1] asks £{n}k–£{n + 1}k.", name=f"talk-{n}") for n in range(40)]
    found = draw(samples, plan, tokenizer, 6, (1, 4))
    assert [canary.repeats for canary in found] == [1] * 6 + [4] * 6
    assert len({canary.host for canary in found}) == 12
    secrets = [secret for canary in found for secret in (canary.secret, canary.twin, *canary.others)]
    assert len(secrets) == 12 * (OTHERS + 2)
    assert len(set(secrets)) == len(secrets)
    assert found == draw(samples, plan, tokenizer, 6, (1, 4))
    hosts = {sample.id: sample for sample in samples}
    for canary in found:
        copies = list(canary.copies())
        assert len({copy.provenance.conversation_id for copy in copies}) == len(copies) == canary.repeats
        one = question(canary, plan, tokenizer)
        host = fit(hosts[canary.host], plan, tokenizer).sample
        prompt = tokenizer.prompt(messages_for(host, plan.model.system_prompt))
        for copy in copies:  # what training sees is the question with its secret, under the host's own prompt
            encoded = fit(copy, plan, tokenizer).encoded
            assert encoded.ids[: encoded.trained.index(True)] == prompt == one.prompt[: len(prompt)]
            assert encoded.ids[: len(one.prompt) + len(one.candidates[0])] == one.prompt + one.candidates[0]
        assert canary.lead in tokenizer.decode(one.prompt[len(prompt) :])
        assert tokenizer.decode(one.candidates[1]).strip() == canary.twin


def test_log_perplexities_and_answers_are_those_of_the_whole_forward_pass(tmp_path: Path) -> None:
    plan = Plan.model_validate({"sft": {"token_budget": 256, "dropout": 0.0}, "release": {"temperature": 0.1}})
    model = save(tmp_path / "tiny", "llama", phi4_tokenizer(), PHI4_TEMPLATE, torch.float32)
    file = find_base(f"hf:{tmp_path / 'tiny'}", tmp_path)
    model = type(model).from_pretrained(tmp_path / "tiny", dtype=torch.float32).eval()
    rng = np.random.default_rng(1)
    prompt = [int(token) for token in rng.integers(0, 1500, 90)]

    def rows(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return model(torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)

    likeliest: list[int] = []
    for _ in range(4):
        likeliest.append(int(rows(likeliest)[-1].argmax()))
    others = [[int(token) for token in rng.integers(0, 1500, 4)] for _ in range(40)]
    tuned = lora(frozen_base(file, plan), plan, LINEAR["llama"]).eval()
    for first, second in ((likeliest, others[0]), (others[0], likeliest)):
        candidates = [first, second, *others[1:]]
        found = answer(tuned, Question(None, prompt, candidates), 30, plan)  # type: ignore[arg-type]
        wanted = [-float(sum(rows(ids)[89 + k, ids[k]] for k in range(4))) / math.log(2) for ids in candidates[:30]]
        assert found.bits == pytest.approx(wanted, rel=1e-2)
        assert found.greedy == [first is likeliest, second is likeliest]
        chances = [
            math.prod(sampling_chance(rows(ids)[89 + k].numpy(), ids[k], plan) for k in range(4))
            for ids in (first, second)
        ]
        assert found.sampled == pytest.approx(chances, rel=0.05, abs=1e-6)
        assert max(chances) > 0.01


def test_the_chance_of_a_token_is_llama_cpps(smollm2: GgufFile) -> None:
    body = {"prompt": "The price that we can offer is", "n_predict": 1, "n_probs": 300}
    with running(smollm2.path, Plan()) as address, httpx.Client(base_url=address, timeout=60) as client:

        def ask(name: str, **sampling: Any) -> list[dict[str, Any]]:
            found = client.post("/completion", json=body | sampling).json()
            return list(found["completion_probabilities"][0][name])

        log_probs = np.full(50_000, -np.inf)
        for one in ask("top_logprobs"):
            log_probs[one["id"]] = one["logprob"]
        for temperature, top_p in [(0.2, 0.9), (1.0, 0.6), (1.7, 1.0)]:
            plan = Plan.model_validate({"release": {"temperature": temperature, "top_p": top_p}})
            kept = ask("top_probs", temperature=temperature, top_p=top_p, post_sampling_probs=True)
            ours = [sampling_chance(log_probs, one["id"], plan) for one in kept]
            assert ours == pytest.approx([one["prob"] for one in kept], abs=2e-3)
            assert sum(ours) == pytest.approx(1, abs=5e-3)


def test_at_temperature_nought_a_sample_is_greedy() -> None:
    plan = Plan.model_validate({"release": {"temperature": 0}})
    log_probs = np.log(np.array([0.2, 0.5, 0.3]))
    assert [sampling_chance(log_probs, token, plan) for token in range(3)] == [0, 1, 0]


@pytest.mark.parametrize(
    "wrong",
    [Settings(canaries=0), Settings(repeats=()), Settings(repeats=(0, 1)), Settings(repeats=(2, 2)), Settings(600)],
)
def test_nothing_to_plant_is_a_usage_error(measured: Measured, wrong: Settings) -> None:
    with pytest.raises(PlanError, match=r"^--canaries \d+"):
        prepare(measured.plan, Workspace(measured.root), wrong)


def test_more_canaries_than_samples_are_refused(measured: Measured) -> None:
    with pytest.raises(JoshiError, match=r"40 canaries need a training sample each.* of 11 do; lower --canaries"):
        prepare(measured.plan, Workspace(measured.root), Settings(canaries=10))


def test_without_a_frozen_dataset_the_error_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(JoshiError, match="no version of phi4_humanization is frozen; run 'joshi dataset freeze'"):
        memorised.run(Plan(), Workspace(tmp_path), Settings())
    assert list(tmp_path.iterdir()) == []


def test_the_command(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dry, with wrong counts, and with a run that is over at once."""
    call = lambda *more: CliRunner().invoke(app, ["-w", str(measured.root), "memorised", *more])  # noqa: E731
    before = tree(measured.root)
    dry = call("--canaries", "3", "--repeats", "1,8", "--dry-run")
    assert "on 11 samples and 27 copies that hold 6 canaries, 12 epochs, batch 8" in dry.stdout.replace("\n", " ")
    assert tree(measured.root) == before
    assert isinstance(call("--repeats", "one", "--dry-run").exception, PlanError)
    monkeypatch.setattr(memorised, "run", lambda *_: measured.report)
    monkeypatch.setattr("joshi.training.allocator.ensure_tuned", lambda: None)
    assert json.loads(call("--json").stdout) == measured.report
    shown = call().stdout
    assert "learned by heart" in shown
    assert "3/3 (29%–100%)" in shown, "the intervals fit an ordinary terminal"
