"""From chats to a served, judged model: what a person relies on after `joshi run`."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.workspace import sha256_file

from ..conftest import EXAMPLE
from .conftest import Finished, command, joshi


def statuses(report: dict[str, object]) -> dict[str, str]:
    return {stage["stage"]: stage["status"] for stage in report["stages"]}  # type: ignore[attr-defined]


def test_a_killed_run_goes_on_where_it_stopped(finished: Finished) -> None:
    found = statuses(finished.second)
    assert [found[name] for name in ("base", "curate", "dataset freeze")] == ["skipped"] * 3
    assert set(list(found.values())[3:]) == {"done"}
    assert "going on from checkpoint-" in finished.second_log
    assert finished.killed_after == ""


def test_the_whole_run_calls_nobody_outside_this_machine(finished: Finished) -> None:
    assert finished.called == ""


def test_nothing_runs_twice(finished: Finished) -> None:
    again = joshi(finished.root, "run", "--json")
    assert again.returncode == 0
    assert set(statuses(json.loads(again.stdout)).values()) == {"skipped"}


def test_the_workspace_holds_what_is_promised(finished: Finished) -> None:
    root = finished.root
    dataset = root / "datasets" / "phi4_humanization"
    for path in (
        dataset / "sft_v1.jsonl", dataset / "preferences_v1.jsonl", dataset / "manifest_v1.json", dataset / "README.md",
        root / "artifacts/phi4-joshi/sft/adapter_model.safetensors", root / "artifacts/phi4-joshi/sft/run.json",
        root / "artifacts/phi4-joshi/dpo/adapter_model.safetensors", root / "models/phi4-joshi.gguf",
        root / "models/Modelfile", root / "reports/evaluation/index.html", root / "reports/evaluation/report.json",
    ):  # fmt: skip
        assert path.stat().st_size > 0, path
    assert list(root.rglob("*.partial")) == []


def test_training_learned_the_answers_and_where_they_end(finished: Finished) -> None:
    metrics = {stage["stage"]: stage["metrics"] for stage in finished.second["stages"]}
    first, last = metrics["train sft"]["heldout_loss"]
    assert last < first
    before, after = metrics["train sft"]["end_probability"]
    assert after > before
    assert metrics["train preference"]["reward_margin"][1] > 0
    for stage in ("train sft", "train preference"):
        kept = metrics[stage]["kept"]
        assert kept["answers"] >= 1
        assert 0 <= kept["pass_rate"] <= 1
        assert kept["answer_tokens_p90"] > 0


def test_pairs_name_the_rule_that_the_rejected_answer_breaks(finished: Finished) -> None:
    path = finished.root / "datasets/phi4_humanization/preferences_v1.jsonl"
    pairs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert 2 <= len(pairs) <= 4
    for pair in pairs:
        assert pair["failure_modes"]
        assert pair["failure_modes"][0] in pair["rationale"]
        assert pair["origin"] == "sampled"
        assert [message["role"] for message in pair["prompt"]] == ["system", "user"]
        assert pair["chosen"] != pair["rejected"]


def test_the_shipped_file_is_a_q4_k_m_that_holds_the_fine_tune(finished: Finished) -> None:
    file = GgufFile(finished.root / "models/phi4-joshi.gguf")
    assert file.value("general.file_type") == 15
    metrics = {stage["stage"]: stage["metrics"] for stage in finished.second["stages"]}
    assert metrics["export"]["kept_delta"] > 0.9
    answers = json.loads((finished.root / "reports/evaluation/answers.json").read_text(encoding="utf-8"))
    assert any(a["answers"]["base"]["text"] != a["answers"]["shipped"]["text"] for a in answers)


def test_the_adapter_alone_is_a_gguf_for_the_same_architecture(finished: Finished) -> None:
    done = joshi(finished.root, "export", "--adapter")
    assert done.returncode == 0, done.stderr
    file = GgufFile(finished.root / "models/phi4-joshi-adapter.gguf")
    assert (file.architecture, file.value("general.type"), file.value("adapter.type")) == ("llama", "adapter", "lora")
    assert file.value("adapter.lora.alpha") == 16
    assert len(file.tensors) == 2 * json.loads(done.stdout)["tensors_changed"] == 2 * 30 * 7
    lines = (finished.root / "models/Modelfile-adapter").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"FROM {find_base('builtin:smollm2', finished.root).path}"
    assert lines[1] == "ADAPTER ./phi4-joshi-adapter.gguf"
    assert "models/Modelfile-adapter" in done.stderr.replace("\n", " ")


def test_a_killed_export_leaves_the_old_model_and_the_next_one_clears_up(finished: Finished, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(finished.root, root)
    model = root / "models" / "phi4-joshi.gguf"
    before = sha256_file(model)
    process = subprocess.Popen(command(root, "export"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not any(partial.stat().st_size > 10_000_000 for partial in model.parent.glob(".*.partial")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert sha256_file(model) == before
    assert len(list(model.parent.glob(".*.partial"))) == 1
    done = joshi(root, "export")
    assert done.returncode == 0, done.stderr
    assert sha256_file(model) == before
    assert list(model.parent.glob(".*")) == []


def test_a_calibrated_export_keeps_more_in_fewer_bytes(finished: Finished, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(finished.root, root)
    metrics = {stage["stage"]: stage["metrics"] for stage in finished.second["stages"]}["export"]
    plan = root / "joshi.toml"
    plan.write_text(
        plan.read_text(encoding="utf-8") + '\n[export]\nrounding = "calibrated"\ncalibration_tokens = 2048\n',
        encoding="utf-8",
    )
    done = joshi(root, "export")
    assert done.returncode == 0, done.stderr
    calibrated = json.loads(done.stdout)
    assert calibrated["tensors_calibrated"] > 0
    assert calibrated["tensors_raised"] < metrics["tensors_raised"]  # tensors of 5 bits and more are raised as before
    assert calibrated["bytes"] < metrics["bytes"]
    assert calibrated["kept_delta_min"] >= 0.9


def test_the_report_is_bound_to_the_models_bytes(finished: Finished) -> None:
    report = json.loads((finished.root / "reports/evaluation/report.json").read_text(encoding="utf-8"))
    assert report["model_sha256"] == sha256_file(finished.root / "models/phi4-joshi.gguf")
    assert set(report["systems"]) == {"base", "base_with_rules", "sft", "shipped"}
    assert report["verdict"] == "pass"
    assert report["reviewed"] == "not reviewed by a person"


def test_the_release_switched_one_variable_and_says_that_nobody_reviewed(finished: Finished) -> None:
    env = (finished.root / ".env").read_text(encoding="utf-8")
    assert env == "# models\nOTHER='kept'\nLLM_DEFAULT_MODEL=phi4-joshi\n"
    (release,) = json.loads(joshi(finished.root, "releases", "--json").stdout)
    assert release["state"] == "current"
    assert release["reviewed"] == "not reviewed by a person"
    assert release["gates"]


def test_the_plan_is_remembered(finished: Finished) -> None:
    plans = json.loads(joshi(finished.root, "plan", "list").stdout)
    assert [plan["tags"] for plan in plans] == [["release"], ["release"], ["dataset"]]
    assert [plan["metadata"].get("deployment_status") for plan in plans] == ["deployed", "planned", None]
    assert plans[0]["metadata"]["dataset_counts"]["sft"] > 0


def test_the_days_after_a_release(finished: Finished, tmp_path: Path) -> None:
    """A day's check, whether a training is due, the dashboard, and back to what was there before."""
    root = tmp_path / "workspace"
    shutil.copytree(finished.root, root)
    checked = joshi(root, "drift", "--json")
    assert checked.returncode in (0, 3), checked.stderr
    verdict = json.loads(checked.stdout)
    assert verdict["verdict"] == "insufficient data"  # three held-out conversations tell nothing, and it says so
    due = joshi(root, "retrain", "--if-due", "--json")
    assert (due.returncode, json.loads(due.stdout)["due"]) == (0, False)
    page = tmp_path / "page.html"
    assert joshi(root, "dashboard", "--write", str(page)).returncode == 0
    (release,) = json.loads(joshi(root, "releases", "--json").stdout)
    assert release["id"] in page.read_text(encoding="utf-8")
    assert "insufficient data" in page.read_text(encoding="utf-8")
    back = joshi(root, "rollback")
    assert back.returncode == 0, back.stderr
    assert (root / ".env").read_text(encoding="utf-8") == "# models\nOTHER='kept'\nLLM_DEFAULT_MODEL=phi4\n"
    learned = json.loads(joshi(root, "memory", "search", "rolled back").stdout)
    assert any("rolled back to what was there before" in str(one["payload"]) for one in learned)


def test_new_chats_are_learned_from_and_judged_against_the_release_in_use(finished: Finished, tmp_path: Path) -> None:
    """The next version up to the gates, the LoRA alone this time; released when the plan lets `retrain` do so."""
    root = tmp_path / "workspace"
    shutil.copytree(finished.root, root)
    known = (EXAMPLE / "transcripts" / "chats.jsonl").read_text(encoding="utf-8").splitlines()
    (root / "transcripts" / "later.jsonl").write_text("\n".join(known[4::16]), encoding="utf-8")
    changed = ("--set", "preference.method=none", "--set", "release.artifact=adapter")
    env = (root / ".env").read_bytes()

    done = joshi(root, *changed, "retrain", "--json")
    assert done.returncode == 0, done.stderr
    attempt = json.loads(done.stdout)
    assert (attempt["reason"], attempt["deployed"], attempt["stopped"]) == ("asked for", False, None)
    found = statuses(attempt)
    assert found.pop("base") == "skipped"
    assert found == dict.fromkeys(("curate", "dataset freeze", "train sft", "export adapter", "evaluate"), "done")
    manifests = [json.loads((root / f"datasets/phi4_humanization/manifest_v{n}.json").read_text()) for n in (1, 2)]
    assert manifests[1]["counts"]["train"] > manifests[0]["counts"]["train"]
    report = json.loads((root / "reports/evaluation/report.json").read_text(encoding="utf-8"))
    assert set(report["systems"]) == {"base", "base_with_rules", "shipped", "released"}
    assert report["model_sha256"] == sha256_file(root / "models/phi4-joshi-adapter.gguf")
    (against,) = (gate for gate in report["gates"] if gate["name"] == "against_release")
    assert against["n"] == report["systems"]["shipped"]["n"]
    assert len(json.loads(joshi(root, "releases", "--json").stdout)) == 1
    assert (root / ".env").read_bytes() == env

    done = joshi(root, *changed, "--set", "monitoring.deploy=true", "retrain", "--json")
    assert done.returncode == 0, done.stderr
    attempt = json.loads(done.stdout)
    assert attempt["deployed"]
    assert statuses(attempt)["evaluate"] == "skipped"
    newest, before = json.loads(joshi(root, "releases", "--json").stdout)
    assert (newest["state"], newest["artifact"], newest["overrides"]) == ("current", "adapter", [])
    assert newest["previous"] == before["id"]
    assert json.loads(joshi(root, *changed, "retrain", "--if-due", "--json").stdout)["due"] is False


def test_answer_prints_a_reply_with_findings(finished: Finished, tmp_path: Path) -> None:
    context = {
        "round": 1, "supplier_sentiment": "worried", "item": "bolts",
        "history": [{"role": "supplier", "text": "Steel doubled, we need £12,450 from 14 March."}],
    }  # fmt: skip
    file = tmp_path / "context.json"
    file.write_text(json.dumps(context), encoding="utf-8")
    arguments = ("answer", "--instruction", "Reply to the supplier.", "--context", str(file))
    record = json.loads(joshi(finished.root, *arguments, "--json").stdout)
    assert record["answer"]
    assert len(record["findings"]) == 7
    shown = joshi(finished.root, *arguments).stdout
    assert "acknowledgement" in shown
    batch = tmp_path / "batch.jsonl"
    batch.write_text(json.dumps({"id": "q1", "instruction": "Reply.", "context": context}) + "\n", encoding="utf-8")
    done = joshi(finished.root, "answer", "--batch", str(batch), "--model", "base")
    row = json.loads(done.stdout)
    assert {"id", "answer", "tokens", "finish", "findings"} == set(row)
    batch.write_text('{"id": "q1"}\n', encoding="utf-8")
    bad = joshi(finished.root, "answer", "--batch", str(batch))
    assert bad.returncode == 1
    assert "batch.jsonl:1" in bad.stderr


def test_mask_marks_the_answer_and_its_end(finished: Finished) -> None:
    found = json.loads(joshi(finished.root, "mask", "--json").stdout)
    trained = [row["text"] for row in found["rows"] if row["trained"]]
    assert trained[-1] == "<|im_end|>"
    assert found["trained"] == len(trained) < found["tokens"]
    text = joshi(finished.root, "mask").stdout
    assert "⟦" in text
    assert "<|im_end|>⟧" in text


def test_a_changed_dataset_is_named(finished: Finished) -> None:
    assert joshi(finished.root, "dataset", "verify", "1").returncode == 0
    path = finished.root / "datasets/phi4_humanization/sft_v1.jsonl"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept.replace(b"chats", b"chots", 1))
        done = joshi(finished.root, "dataset", "verify", "1")
        assert done.returncode == 3
        assert "sft_v1.jsonl" in done.stderr
    finally:
        path.write_bytes(kept)


def test_deploy_refuses_other_bytes_than_were_evaluated(finished: Finished) -> None:
    path = finished.root / "models/phi4-joshi.gguf"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept[:-4] + b"xxxx")
        done = joshi(finished.root, "deploy")
        assert done.returncode == 3
        assert "another model file" in done.stderr
    finally:
        path.write_bytes(kept)


def test_a_gate_that_refuses_is_shown_with_all_the_others(finished: Finished) -> None:
    reports = {path: path.read_bytes() for path in (finished.root / "reports/evaluation").iterdir()}
    try:
        done = joshi(finished.root, "--set", "evaluation.gates.all_rules=1.0", "evaluate", "--json")
        assert done.returncode == 3
        assert "the gates say fail" in done.stderr
        report = json.loads(done.stdout)
        verdicts = {gate["name"]: gate["verdict"] for gate in report["gates"]}
        assert verdicts["all_rules"] == "fail"
        assert verdicts["leak_rate"] == "pass", "the plan of this run lets every attack through"
        assert report["redteam"]["attacks"]["n"] == 4
    finally:
        for path, content in reports.items():
            path.write_bytes(content)


def test_the_model_is_attacked_alone_too(finished: Finished) -> None:
    done = joshi(finished.root, "redteam", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["attacks"]["n"] == 4
    assert found["gate"]["verdict"] == "pass"
    strict = joshi(finished.root, "--set", "evaluation.gates.leak_rate=0.01", "redteam")
    assert strict.returncode == 3
    assert "of 4 attacks got a secret out" in strict.stderr
    assert "95% bound" in strict.stdout


@pytest.mark.parametrize(
    ("arguments", "file_bytes", "kept"),
    [
        (("--set", "sft.rank=4", "train", "sft"), 1_000_000, "artifacts/phi4-joshi/sft"),
        (("--set", "preference.beta=0.2", "train", "preference"), 1_000_000, "artifacts/phi4-joshi/dpo"),
        (("--set", "export.quantization=Q8_0", "export"), 20_000_000, "models"),
    ],
)
def test_a_disk_that_takes_no_more_loses_nothing(
    finished: Finished, arguments: tuple[str, ...], file_bytes: int, kept: str
) -> None:
    folder = finished.root / kept
    before = {path.name: sha256_file(path) for path in folder.iterdir()}
    done = joshi(finished.root, *arguments, file_bytes=file_bytes)
    assert done.returncode == 1
    assert "run again" in done.stderr
    assert "fault in Joshi" not in done.stderr
    assert {path.name: sha256_file(path) for path in folder.iterdir()} == before
    assert list(folder.parent.rglob("*.partial")) == []


@pytest.mark.parametrize("arguments", [("run",), ("train", "sft", "--dry-run"), ("deploy", "--dry-run")])
def test_looking_changes_nothing(finished: Finished, arguments: tuple[str, ...]) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.root.rglob("*.safetensors")}
    assert joshi(finished.root, *arguments).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in finished.root.rglob("*.safetensors")} == before
