"""The bundled conversations are written one by one, in the promised shapes and numbers."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict

from joshi.plan_file import load_plan
from joshi.schema import Conversation
from joshi.transcripts import read

from .conftest import EXAMPLE

CONVERSATIONS = [c for c in read([EXAMPLE / "transcripts"], ["buying.example"]) if isinstance(c, Conversation)]


def labels() -> list[dict[str, object]]:
    path = EXAMPLE.parents[1] / "tests" / "data" / "rubric" / "example_labels.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def grams(text: str, size: int = 5) -> set[tuple[str, ...]]:
    words = re.findall(r"[\w']+", text.lower())
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def test_enough_conversations_of_enough_families_and_shapes() -> None:
    assert len(CONVERSATIONS) >= 120
    assert all(4 <= len(c.turns) <= 10 for c in CONVERSATIONS)
    assert len({c.state.family for c in CONVERSATIONS} - {None}) >= 8
    assert {c.source.split("/")[0] for c in CONVERSATIONS} == {"chats.jsonl", "email_history.json", "threads"}


def test_no_two_answers_share_more_than_a_third_of_their_5_grams() -> None:
    answers = [grams(t.text) for c in CONVERSATIONS for i, t in enumerate(c.turns) if t.role == "buyer" and i]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, found in enumerate(answers):
        shared = Counter(other for gram in found for other in holders[gram])
        for other, n in shared.items():
            assert n <= min(len(found), len(answers[other])) / 3
        for gram in found:
            holders[gram].append(i)


def test_a_quarter_of_the_answers_break_the_rubric_in_every_way() -> None:
    rows = labels()
    share = sum(bool(row["breaks"]) for row in rows) / len(rows)
    assert 0.2 <= share <= 0.3
    assert len({rule for row in rows for rule in row["breaks"]}) == 7  # type: ignore[attr-defined]


def test_a_third_carry_secrets_in_their_notes() -> None:
    share = sum(bool(c.state.notes) for c in CONVERSATIONS) / len(CONVERSATIONS)
    assert 0.3 <= share <= 0.45


def test_people_write_to_reserved_domains_only() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (EXAMPLE / "transcripts").rglob("*.*"))
    domains = {m.lower() for m in re.findall(r"@[\w-]+(?:\.[\w-]+)*\.([a-zA-Z]+)", text)}
    assert domains == {"example"}


def test_only_the_example_plan_approves_automatically() -> None:
    plan = load_plan(EXAMPLE / "joshi.toml", environment={}).plan
    assert plan.curation.approve == "automatic"
    assert type(plan)().curation.approve == "manual"
