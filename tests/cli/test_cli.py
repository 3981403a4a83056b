"""The command line as a user meets it: exit codes, one-sentence errors, data on standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from joshi.base.find import find_base
from joshi.base.gguf_file import GgufFile
from joshi.cli import app
from joshi.workspace import Workspace

from ..base.checkpoints import PHI4_TEMPLATE, phi4_tokenizer, save
from ..gguf_files import rewrite


def joshi(*arguments: str, workspace: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "joshi", "--workspace", str(workspace), *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JOSHI_")}
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, env=environment, timeout=300
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    assert joshi("init", workspace=root).returncode == 0
    (root / "joshi.toml").write_text('[model]\nbase = "builtin:smollm2"\n', encoding="utf-8")
    return root


def test_init_makes_a_workspace_and_never_overwrites_one(workspace: Path) -> None:
    (workspace / "joshi.toml").write_text("seed = 3\n", encoding="utf-8")
    again = joshi("init", workspace=workspace)
    assert again.returncode == 1
    assert "it is left as it is" in again.stderr
    assert (workspace / "joshi.toml").read_text(encoding="utf-8") == "seed = 3\n"


def test_init_example_brings_plan_and_conversations(tmp_path: Path) -> None:
    done = joshi("init", "--example", workspace=tmp_path / "demo")
    assert done.returncode == 0
    assert (tmp_path / "demo" / "transcripts" / "chats.jsonl").is_file()


def test_without_a_plan_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    done = joshi("plan", "show", workspace=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "run 'joshi init'" in done.stderr


def test_a_wrong_plan_is_exit_2_before_anything_starts(workspace: Path) -> None:
    (workspace / "joshi.toml").write_text("[sft]\nlearing_rate = 1\n", encoding="utf-8")
    done = joshi("run", workspace=workspace)
    assert done.returncode == 2
    assert "[sft] learing_rate is unknown; did you mean learning_rate?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (workspace / ".joshi").exists()


def test_a_wrong_flag_is_a_usage_error(workspace: Path) -> None:
    assert joshi("run", "--jsn", workspace=workspace).returncode == 2
    done = joshi("--set", "sft.epochs", "plan", "show", workspace=workspace)
    assert done.returncode == 2
    assert "KEY=VALUE" in done.stderr


def test_plan_show_names_the_source_of_each_value(workspace: Path) -> None:
    done = joshi("--set", "sft.epochs=9", "plan", "show", "--json", workspace=workspace)
    rows = json.loads(done.stdout)
    assert rows["sft.epochs"] == {"value": 9, "source": "flag"}
    assert rows["model.base"] == {"value": "builtin:smollm2", "source": "joshi.toml"}
    assert rows["sft.rank"]["source"] == "default"


def test_plan_check_finds_the_warm_up_that_never_ends(workspace: Path) -> None:
    done = joshi("plan", "check", workspace=workspace)
    assert done.returncode == 0
    assert "warm-up" in done.stdout


def test_a_base_that_does_not_exist(workspace: Path) -> None:
    done = joshi("--set", "model.base=gguf:none.gguf", "doctor", workspace=workspace)
    assert done.returncode == 1
    assert "none.gguf does not exist" in done.stderr
    missing = joshi("--set", "model.base=ollama:nothing-of-this-name", "doctor", workspace=workspace)
    assert missing.returncode == 4


def test_doctor_reports_as_json(workspace: Path) -> None:
    report = json.loads(joshi("doctor", "--json", workspace=workspace).stdout)
    assert report["base"]["architecture"] == "llama"
    assert report["base"]["parameters"] == 134_515_008


def test_base_show_looks_at_any_base_and_needs_no_workspace(tmp_path: Path) -> None:
    done = joshi("base", "show", "builtin:smollm2", "--json", workspace=tmp_path)
    report = json.loads(done.stdout)
    assert report["end_of_turn"] == "<|im_end|>"
    assert report["ollama_template"].startswith("{{ range .Messages }}<|im_start|>{{ .Role }}\n")
    assert report["exported_bytes"] < report["training_bytes"]
    assert "SmolLM2" in joshi("base", "show", "builtin:smollm2", workspace=tmp_path).stdout.replace(
        "Smollm2", "SmolLM2"
    )
    for line, code, message in (
        ("gguf:none.gguf", 1, "does not exist"),
        ("ollama:nothing-of-this-name", 4, "ollama pull nothing-of-this-name:latest"),
        ("phi4", 1, "names no base; write ollama:NAME"),
    ):
        done = joshi("base", "show", line, workspace=tmp_path)
        assert (done.returncode, done.stdout) == (code, "")
        assert message in done.stderr
    assert joshi("base", "show", workspace=tmp_path).returncode == 2  # whose base?


def test_a_checkpoint_is_judged_before_it_is_converted(tmp_path: Path) -> None:
    save(tmp_path / "tiny", "phi3", phi4_tokenizer(), PHI4_TEMPLATE, torch.bfloat16)
    (tmp_path / "joshi.toml").write_text('[model]\nbase = "hf:tiny"\n', encoding="utf-8")
    for command in (["base", "show"], ["doctor"]):
        done = joshi(*command, "--json", workspace=tmp_path)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".joshi" / "base").exists()
    shown = json.loads(joshi("base", "show", "--json", workspace=tmp_path).stdout)
    converted = find_base("hf:tiny", tmp_path)
    assert shown["imported_bytes"] == converted.path.stat().st_size
    assert shown["parameters"] == converted.parameters
    assert "<|im_sep|>" in shown["ollama_template"]
    assert f"a GGUF of {shown['imported_bytes'] / 1e9:.1f} GB" in joshi("base", "show", workspace=tmp_path).stdout


def test_a_models_name_does_nothing_to_the_terminal(tmp_path: Path, smollm2: GgufFile) -> None:
    hostile = "[/red]\x1b]0;owned\x07[link=http://x.example]here"
    rewrite(
        smollm2, tmp_path / "base.gguf", {"general.name": hostile}, keep=lambda tensor: tensor.name.startswith("blk.0")
    )
    (tmp_path / "joshi.toml").write_text('[model]\nbase = "gguf:base.gguf"\n', encoding="utf-8")
    for command in (["base", "show"], ["doctor"]):
        done = joshi(*command, workspace=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "[/red]" in done.stdout
        assert "\x1b" not in done.stdout
        assert "\x07" not in done.stdout


def test_redact_reads_standard_input(workspace: Path) -> None:
    done = joshi("redact", "-", workspace=workspace, stdin="Mail anna@firm.example, £12,450.\n")
    assert done.returncode == 0
    assert "anna" not in done.stdout
    assert "12,450" not in done.stdout
    counted = json.loads(joshi("redact", "--json", "-", workspace=workspace, stdin="£12,450").stdout)
    assert counted["redactions"] == {"PRICE": 1}


def test_an_interrupted_command_exits_130(tmp_path: Path) -> None:
    assert joshi("init", "--example", workspace=tmp_path).returncode == 0
    command = [sys.executable, "-m", "joshi", "--workspace", str(tmp_path), "run"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit it ignored
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "curate" in line:  # the second stage has begun
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert list(tmp_path.rglob("*.partial")) == []


LINE = {
    "messages": [
        {"role": "user", "content": "Steel has gone up twice and we must ask £12,450 from 14 March."},
        {"role": "assistant", "content": "Steel jumping twice is hard. £12,450 works. Could you confirm 14 March?"},
    ]
}


def test_curate_then_freeze_without_review_is_exit_3(workspace: Path) -> None:
    (workspace / "transcripts" / "chats.jsonl").write_text(json.dumps(LINE) + "\nbroken\n", encoding="utf-8")
    done = joshi("curate", "--json", workspace=workspace)
    assert done.returncode == 0
    assert json.loads(done.stdout)["records"] == {"read": 2, "kept": 1, "rejected": 0, "quarantined": 1}
    assert "chats.jsonl: 1 record quarantined" in done.stderr
    frozen = joshi("dataset", "freeze", workspace=workspace)
    assert frozen.returncode == 3
    assert "joshi review export" in frozen.stderr
    exported = joshi("review", "export", str(workspace / "open.jsonl"), workspace=workspace)
    assert exported.returncode == 0
    text = (workspace / "open.jsonl").read_text(encoding="utf-8").replace('"pending"', '"approved"')
    (workspace / "open.jsonl").write_text(text, encoding="utf-8")
    taken = joshi("review", "import", str(workspace / "open.jsonl"), "--reviewer", "Ana", workspace=workspace)
    assert json.loads(taken.stdout) == {"approved": 1, "rejected": 0, "pending": 0}
    few = joshi("dataset", "freeze", workspace=workspace)
    assert few.returncode == 3
    assert "1 approved samples, the plan needs 200" in few.stderr


def test_curate_with_nothing_readable_is_exit_1(workspace: Path) -> None:
    (workspace / "transcripts" / "chats.jsonl").write_bytes("{}".encode("utf-16"))
    done = joshi("curate", workspace=workspace)
    assert done.returncode == 1
    assert "none of the 1 records" in done.stderr


def test_curate_without_any_transcript_says_where_to_put_one(workspace: Path) -> None:
    done = joshi("curate", workspace=workspace)
    assert done.returncode == 1
    assert "transcripts: no transcripts in there; put chats (.jsonl, .csv, .eml, .txt) into it" in done.stderr


@pytest.mark.parametrize(("command", "lock"), [("drift", "drift.lock"), ("deploy", "lock"), ("rollback", "lock")])
def test_the_second_of_two_at_once_is_told_who_is_at_work(workspace: Path, command: str, lock: str) -> None:
    with Workspace(workspace).lock(lock):
        done = joshi(command, workspace=workspace)
    assert done.returncode == 1
    assert f"is in use by process {os.getpid()}; wait until it ends" in done.stderr.replace("\n", " ")


def test_a_lock_that_cannot_be_written_is_one_sentence(workspace: Path) -> None:
    (workspace / ".joshi" / "lock").mkdir(parents=True)
    done = joshi("curate", workspace=workspace)
    assert done.returncode == 1
    assert "lock: Is a directory; check the path and run again" in done.stderr


def test_a_workspace_without_write_permission(workspace: Path) -> None:
    if os.geteuid() == 0:
        # root writes anywhere; a file where a folder must be is refused to everybody
        (workspace / ".joshi").write_text("", encoding="utf-8")
    else:
        workspace.chmod(0o500)
    done = joshi("curate", workspace=workspace)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert ".joshi" in done.stderr


def test_every_command_is_documented() -> None:
    import typer

    text = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    names = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        names += [f"{name} {sub}" for sub in command.commands] if hasattr(command, "commands") else [name]
    assert [name for name in names if f"`joshi {name}" not in text] == []
