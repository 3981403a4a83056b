"""A person who asks to be forgotten is gone from every file, and does not come back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from joshi import base, curation, datasets
from joshi.curation.fingerprints import fingerprint, key_path, load_key
from joshi.datasets.forget import find, forget
from joshi.errors import JoshiError
from joshi.plan import Plan
from joshi.schema import Sample, read_records
from joshi.workspace import Workspace

PLAN = Plan.model_validate(
    {"model": {"base": "builtin:smollm2"}, "curation": {"approve": "automatic", "sft_samples": [2, 50]}}
)
TOPICS = ("steel", "resin", "paper", "copper", "glass", "timber")


def talk(number: int, person: str) -> str:
    topic = TOPICS[number % len(TOPICS)]
    return json.dumps(
        {
            "id": f"talk-{number}",
            "participants": [{"role": "supplier", "firm": f"Firm{number} Ltd", "person": person}],
            "messages": [
                {"role": "user", "content": f"{topic} went up twice this spring and we must ask £12,4{number}0."},
                {
                    "role": "assistant",
                    "content": f"Two rises in {topic} this spring are hard on you. £12,4{number}0 works for us. "
                    f"Could you confirm the {topic} grade?",
                },
            ],
        }
    )


@pytest.fixture
def frozen(tmp_path: Path) -> Workspace:
    """Version 1, from six talks, two of them with Gareth Pugh."""
    workspace = Workspace(tmp_path)
    base.run(PLAN, workspace)
    (tmp_path / "transcripts").mkdir()
    people = ["Gareth Pugh", "Ines Carvalho", "gareth  PUGH", "Wei Lin", "Amara Nwosu", "Rohan Mehta"]
    lines = "\n".join(talk(number, person) for number, person in enumerate(people))
    (tmp_path / "transcripts" / "chats.jsonl").write_text(lines, encoding="utf-8")
    curation.run(PLAN, workspace)
    datasets.run(PLAN, workspace)
    return workspace


def conversations(workspace: Workspace, version: int) -> set[str]:
    path = workspace.dataset("phi4_humanization") / f"sft_v{version}.jsonl"
    return {sample.provenance.conversation_id for sample in read_records(path, Sample)}


def test_a_person_is_gone_from_all_files_and_stays_gone(frozen: Workspace) -> None:
    before = conversations(frozen, 1)
    found = find(["Gareth Pugh"], PLAN, frozen)
    gone = {name for name in before if name.endswith(("talk-0", "talk-2"))}
    assert found.conversations == gone
    newest = forget(found, "asked on the telephone", PLAN, frozen)
    assert newest is not None
    assert newest.version == 2
    assert conversations(frozen, 2) == before - gone
    assert newest.forgot == {"from": "v1", "samples": 2, "reason": "asked on the telephone"}
    # Not a trace in any file but the transcripts, and none of the name even where it is remembered.
    for path in frozen.root.rglob("*"):
        if path.is_file() and "transcripts" not in path.parts and path.suffix in (".jsonl", ".json", ".md", ".txt"):
            text = path.read_text(encoding="utf-8")
            assert "Pugh" not in text
            if path.name not in ("manifest_v1.json", "forgotten.jsonl"):  # the old manifest keeps ids, no texts
                assert not any(f'"{name}/' in text for name in gone), path
    curation.run(PLAN, frozen)
    datasets.run(PLAN, frozen)
    assert conversations(frozen, 3) == before - gone


def test_reports_that_quote_messages_go_and_their_figures_stay(frozen: Workspace) -> None:
    reports = frozen.root / "reports"
    quoting = [reports / "evaluation" / "answers.json", reports / "evaluation" / "index.html"]
    for path in (*quoting, reports / "evaluation" / "report.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}", encoding="utf-8")
    forget(find(["Gareth Pugh"], PLAN, frozen), "asked", PLAN, frozen)
    assert not any(path.exists() for path in quoting)
    assert (reports / "evaluation" / "report.json").exists()


def test_the_old_version_says_that_it_was_withdrawn(frozen: Workspace) -> None:
    forget(find(["Gareth Pugh"], PLAN, frozen), "asked", PLAN, frozen)
    with pytest.raises(JoshiError, match=r"v1 was withdrawn on .*2 of its samples.*v2 takes its place"):
        datasets.verify(PLAN, frozen, 1)
    with pytest.raises(JoshiError, match="v1 was withdrawn"):
        datasets.difference(PLAN, frozen, 1, 2)
    assert datasets.verify(PLAN, frozen, 2) == []
    assert {s.id for s in datasets.load_split(PLAN, frozen)} == {
        s.id for s in read_records(frozen.dataset("phi4_humanization") / "sft_v2.jsonl", Sample)
    }


def test_a_run_that_was_killed_is_completed_by_the_next(frozen: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find(["Gareth Pugh"], PLAN, frozen)
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("joshi.datasets.forget._withdraw", killed)
        with pytest.raises(KeyboardInterrupt):
            forget(found, "asked", PLAN, frozen)
    assert conversations(frozen, 1)  # still there
    newest = forget(find(["Gareth Pugh"], PLAN, frozen), "asked", PLAN, frozen)
    assert newest is not None
    assert newest.version == 2
    assert not (frozen.dataset("phi4_humanization") / "sft_v1.jsonl").exists()


def test_nobody_is_found_without_the_key_or_by_another_name(frozen: Workspace) -> None:
    with pytest.raises(JoshiError, match="no sample was made from a conversation with Nobody Here"):
        find(["Nobody Here"], PLAN, frozen)
    key_path(frozen).unlink()
    with pytest.raises(JoshiError, match=r"redaction\.key does not exist.*restore the key"):
        find(["Gareth Pugh"], PLAN, frozen)
    key_path(frozen).write_text("zz", encoding="utf-8")
    with pytest.raises(JoshiError, match="holds no key of 64 hexadecimal digits"):
        find(["Gareth Pugh"], PLAN, frozen)


def test_the_key_is_the_owners_alone_and_is_in_no_dataset(frozen: Workspace) -> None:
    assert key_path(frozen).stat().st_mode & 0o077 == 0
    key = key_path(frozen).read_text(encoding="utf-8").strip()
    for path in (frozen.root / "datasets").rglob("*"):
        assert not path.is_file() or key not in path.read_text(encoding="utf-8")


def test_fingerprints_do_not_depend_on_how_a_name_is_written(frozen: Workspace) -> None:
    key = load_key(frozen)
    assert fingerprint(key, "Gareth Pugh") == fingerprint(key, " gareth  PUGH ") == fingerprint(key, "Gareth Pugh's")
    assert fingerprint(key, "+44 (0)1632-960417") == fingerprint(key, "01632 960417")
    assert fingerprint(key, "Gareth Pugh") != fingerprint(key, "Gareth Pughe")
    assert fingerprint(bytes(32), "Gareth Pugh") != fingerprint(key, "Gareth Pugh")
