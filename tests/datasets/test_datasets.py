"""A frozen version is written once, only from approved samples, and any changed byte is named."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from joshi import datasets, review
from joshi.curation import approve_automatically
from joshi.errors import GateRefused, JoshiError
from joshi.plan import Plan
from joshi.schema import Sample, to_jsonl
from joshi.workspace import Workspace, write_text

PLAN = Plan.model_validate({"curation": {"sft_samples": [4, 12]}})
Make = Callable[..., Sample]


def candidates(make: Make, conversations: int, turns: int = 2, families: int = 3) -> list[Sample]:
    samples = []
    for c in range(conversations):
        for t in range(turns):
            sample = make(f"Answer {c} {t}", name=f"c{c}", turn=t)
            sample.provenance.family = f"f{c % families}"
            samples.append(sample)
    return samples


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def put(workspace: Workspace, samples: list[Sample]) -> None:
    write_text(workspace.candidates, to_jsonl(samples))


def test_unreviewed_samples_stop_the_freeze_and_say_how_to_review(workspace: Workspace, make_sample: Make) -> None:
    put(workspace, candidates(make_sample, 5))
    with pytest.raises(GateRefused, match=r"0 approved samples.*10 wait for review.*joshi review export"):
        datasets.run(PLAN, workspace)
    assert not workspace.dataset("phi4_humanization").exists()


def test_a_person_reviews_and_the_freeze_takes_what_was_approved(workspace: Workspace, make_sample: Make) -> None:
    samples = candidates(make_sample, 5)
    put(workspace, samples)
    file = workspace.root / "review.jsonl"
    assert review.export(file, workspace) == 10
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for i, row in enumerate(rows):
        row["status"] = "rejected" if i == 0 else "approved"
    rows[1]["ideal_answer"] = "A better answer"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert review.take(file, "Ana", PLAN, workspace) == {"approved": 9, "rejected": 1, "pending": 0}
    metrics = datasets.run(PLAN, workspace).metrics
    assert metrics["sft"] == 9
    edited = next(s for s in datasets.load_split(PLAN, workspace) if s.ideal_answer == "A better answer")
    assert (edited.review.reviewer, edited.review.edited) == ("Ana", True)


def test_a_text_changed_after_its_approval_is_pending_again(workspace: Workspace, make_sample: Make) -> None:
    samples = candidates(make_sample, 1)
    put(workspace, samples)
    file = workspace.root / "review.jsonl"
    file.write_text(
        json.dumps({"id": samples[0].id, "status": "approved", "ideal_answer": samples[0].ideal_answer}),
        encoding="utf-8",
    )
    review.take(file, "Ana", PLAN, workspace)
    changed = samples[0].model_copy(update={"ideal_answer": "Something new"})
    assert review.apply(samples, workspace)[0].review.status == "approved"
    assert review.apply([changed], workspace)[0].review.status == "pending"


def test_a_wrong_line_takes_no_decision(workspace: Workspace, make_sample: Make) -> None:
    samples = candidates(make_sample, 1)
    put(workspace, samples)
    file = workspace.root / "review.jsonl"
    good = json.dumps({"id": samples[0].id, "status": "approved", "ideal_answer": "x"})
    file.write_text(good + '\n{"id": "c0/1", "status": "yes", "ideal_answer": "x"}\n', encoding="utf-8")
    with pytest.raises(JoshiError, match=r"review\.jsonl:2: status"):
        review.take(file, "Ana", PLAN, workspace)
    assert review.apply(samples, workspace)[0].review.status == "pending"


def frozen(workspace: Workspace, make: Make, conversations: int = 6) -> None:
    put(workspace, [approve_automatically(s) for s in candidates(make, conversations)])
    datasets.run(PLAN, workspace)


def test_the_split_is_by_conversation(workspace: Workspace, make_sample: Make) -> None:
    frozen(workspace, make_sample)
    parts = datasets.load_split(PLAN, workspace)
    found = [
        {s.provenance.conversation_id for s in part} for part in (parts.training, parts.development, parts.held_out)
    ]
    assert all(found)
    assert sum(map(len, found)) == len(set.union(*found)) == 6
    assert len(list(parts)) == 12


def test_the_same_inputs_give_the_same_version_and_new_ones_the_next(workspace: Workspace, make_sample: Make) -> None:
    frozen(workspace, make_sample)
    before = (workspace.dataset("phi4_humanization") / "sft_v1.jsonl").read_bytes()
    assert datasets.run(PLAN, workspace).metrics["version"] == 1
    frozen(workspace, make_sample, conversations=5)
    newest = datasets.latest(PLAN, workspace)
    assert newest is not None
    assert newest.version == 2
    assert (workspace.dataset("phi4_humanization") / "sft_v1.jsonl").read_bytes() == before
    changes = datasets.difference(PLAN, workspace, 1, 2)
    assert changes == {"added": [], "removed": ["c5/0", "c5/1"], "changed": []}


def test_too_many_samples_are_thinned_by_whole_conversations(workspace: Workspace, make_sample: Make) -> None:
    frozen(workspace, make_sample, conversations=20)
    parts = datasets.load_split(PLAN, workspace)
    train = [*parts.training, *parts.development]
    assert len(list(parts)) == 12
    assert {len([s for s in train if s.provenance.conversation_id == c]) for c in {
        s.provenance.conversation_id for s in train}} == {2}  # fmt: skip
    assert len({s.provenance.family for s in train}) == 3


def test_a_small_plan_on_much_data_still_trains_on_most_of_what_it_takes(
    workspace: Workspace, make_sample: Make
) -> None:
    frozen(workspace, make_sample, conversations=200)  # a tenth of them is more than the plan's 12 samples
    parts = datasets.load_split(PLAN, workspace)
    assert 10 <= len(list(parts)) <= 12
    assert len(parts.held_out) == len(parts.development) == 2


def test_development_has_a_share_of_its_own(workspace: Workspace, make_sample: Make) -> None:
    put(workspace, [approve_automatically(s) for s in candidates(make_sample, 30)])
    plan = Plan.model_validate({"curation": {"sft_samples": [4, 60], "development_fraction": 0.3}})
    datasets.run(plan, workspace)
    parts = datasets.load_split(plan, workspace)
    assert (len(parts.held_out), len(parts.development), len(parts.training)) == (6, 16, 38)


def test_a_version_without_development_is_frozen_anew(workspace: Workspace, make_sample: Make) -> None:
    """As versions of old are: nothing was set aside, and the plan had no share for it."""
    frozen(workspace, make_sample)
    path = workspace.dataset("phi4_humanization") / "manifest_v1.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["development"]
    (path.parent / "sha256sums_v1.txt").unlink()  # versions of old have none
    path.write_text(json.dumps(manifest | {"key": "of another time"}), encoding="utf-8")
    with pytest.raises(JoshiError, match=r"v1 has no development conversations.* run 'joshi dataset freeze'"):
        datasets.load_split(PLAN, workspace)
    assert datasets.run(PLAN, workspace).metrics["version"] == 2
    assert datasets.load_split(PLAN, workspace).development
    assert json.loads(path.read_text(encoding="utf-8"))["key"] == "of another time", "what is frozen stays"


@pytest.mark.parametrize("conversations", [1, 2])
def test_too_few_conversations_leave_nothing_to_train_on(
    workspace: Workspace, make_sample: Make, conversations: int
) -> None:
    put(workspace, [approve_automatically(s) for s in candidates(make_sample, conversations, turns=6)])
    with pytest.raises(GateRefused, match=rf"all {6 * conversations} samples .* none is left to train on"):
        datasets.run(PLAN, workspace)
    assert not list(workspace.dataset("phi4_humanization").glob("*"))


def test_verify_names_the_file_that_changed(workspace: Workspace, make_sample: Make) -> None:
    frozen(workspace, make_sample)
    assert datasets.verify(PLAN, workspace, 1) == []
    path = workspace.dataset("phi4_humanization") / "sft_v1.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Answer 1 0", b"Answer 1 9"))
    assert datasets.verify(PLAN, workspace, 1) == ["sft_v1.jsonl changed"]
    with pytest.raises(JoshiError, match=r"sft_v1\.jsonl changed"):
        datasets.load_split(PLAN, workspace)


def test_the_card_says_that_nobody_reviewed(workspace: Workspace, make_sample: Make) -> None:
    frozen(workspace, make_sample)
    card = (workspace.dataset("phi4_humanization") / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert "no person has read them" in card


def test_hugging_face_datasets_reads_it(workspace: Workspace, make_sample: Make) -> None:
    import datasets as hugging_face

    frozen(workspace, make_sample)
    path = workspace.dataset("phi4_humanization") / "sft_v1.jsonl"
    table = hugging_face.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(workspace.root / "cache")
    )
    assert {"instruction", "context", "ideal_answer"} <= set(table.column_names)


def frozen_version(workspace: Workspace, make: Make) -> Path:
    put(workspace, [approve_automatically(s) for s in candidates(make, 5)])
    datasets.run(PLAN, workspace)
    return workspace.dataset("phi4_humanization")


def test_verify_names_a_manifest_whose_own_bytes_changed(workspace: Workspace, make_sample: Make) -> None:
    folder = frozen_version(workspace, make_sample)
    assert datasets.verify(PLAN, workspace, 1) == []
    path = folder / "manifest_v1.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"seed"', ' "seed"'), encoding="utf-8")
    assert datasets.verify(PLAN, workspace, 1) == ["manifest_v1.json changed"]


def test_sums_are_read_by_sha256sum(workspace: Workspace, make_sample: Make) -> None:
    folder = frozen_version(workspace, make_sample)
    command = ["sha256sum", "--strict", "-c", "sha256sums_v1.txt"]
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
    (folder / "sft_v1.jsonl").write_text("{}\n", encoding="utf-8")
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 1


def test_a_supplier_stands_on_one_side_of_a_split(make_sample: Make) -> None:
    samples = candidates(make_sample, 30)
    for sample in samples:
        number = int(sample.provenance.conversation_id[1:])
        sample.provenance.supplier = f"supplier-{number // 3}"
    for seed in range(5):
        plan = PLAN.model_copy(update={"seed": seed})
        held_out = datasets.split(samples, 0.2, plan)
        assert held_out
        sides = {s.provenance.supplier: set() for s in samples}  # type: ignore[var-annotated]
        for sample in samples:
            sides[sample.provenance.supplier].add(sample.provenance.conversation_id in held_out)
        assert all(len(side) == 1 for side in sides.values())


def test_selection_balances_rounds_and_sentiments(make_sample: Make) -> None:
    samples = []
    for number in range(60):
        mood = "frustrated" if number % 10 == 0 else "neutral"
        samples.append(
            make_sample(f"Answer {number}", name=f"c{number}", supplier_sentiment=mood, round=1 + number % 2)
        )
    chosen = datasets.select(samples, set(), PLAN)
    assert len(chosen) == 12
    moods = [sample.context.supplier_sentiment for sample in chosen]
    assert moods.count("frustrated") >= 5  # nearly half; a tenth of the source
    rounds = [sample.context.round for sample in chosen]
    assert abs(rounds.count(1) - rounds.count(2)) <= 6
    assert datasets.select(samples, set(), PLAN) == chosen


def test_of_conversations_otherwise_alike_the_warm_ones_are_selected(make_sample: Make) -> None:
    warm = "Losing your best driver in the same week is a lot to carry."
    cold = "The revised schedule is attached as a spreadsheet."
    samples = [make_sample(f"{warm if n % 3 == 0 else cold} Item {n}.", name=f"c{n}") for n in range(36)]
    chosen = datasets.select(samples, set(), PLAN)
    assert len(chosen) == 12
    assert all(sample.ideal_answer.startswith(warm) for sample in chosen)
