"""The benchmark's data is sound, its checks decide as their examples say, and nobody trains on it unawares."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from joshi.errors import JoshiError
from joshi.evaluation import bench
from joshi.evaluation.bench import games, tasks
from joshi.evaluation.bench.checks import CHECKS, check, validate
from joshi.evaluation.bench.games import TEMPERS, Play, begin
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer
from joshi.rubric import Rubric, failed
from joshi.schema import BENCHMARK_CANARY, Completion
from joshi.transcripts import Unread, read


@pytest.fixture(scope="module")
def rubric(tokenizer: ChatTokenizer) -> Rubric:
    return Rubric(Plan(), tokenizer)


def test_there_are_150_tasks_in_ten_families_a_fifth_of_them_hidden() -> None:
    found = tasks.load()
    families = Counter(task.family for task in found)
    assert len(families) == 10 and set(families.values()) == {15}
    assert sum(task.hidden for task in found) == 30
    assert len({task.context.history[-1].text for task in found}) == 150


def test_every_good_answer_passes_and_every_bad_one_fails_its_check(rubric: Rubric) -> None:
    validate(tasks.load(), rubric)
    assert {bad.fails for task in tasks.load() for bad in task.bad} == set(CHECKS)


def broken_copy(folder: Path, **changes: object) -> Path:
    line = json.loads((tasks.FOLDER / "price_rise.jsonl").read_text(encoding="utf-8").splitlines()[0])
    (folder / "mine.jsonl").write_text(json.dumps(line | changes) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"canary": "none"}, "canary"),
        ({"family": "weather"}, "family"),
        ({"takes_up": []}, "takes_up"),
        ({"secrets": [{"kind": "tool", "token": "Nowhere"}]}, "does not stand in context.notes"),
        ({"bad": []}, "bad"),
    ],
)
def test_a_wrong_task_is_told_with_its_line(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    with pytest.raises(JoshiError, match=r"mine\.jsonl:1") as found:
        tasks.load(broken_copy(tmp_path, **changes))
    assert told in str(found.value)


def test_a_broken_check_is_told_by_the_answers_that_the_task_carries(tmp_path: Path, rubric: Rubric) -> None:
    nobody_says = broken_copy(tmp_path, takes_up=[["zeppelin"]])
    with pytest.raises(JoshiError, match="price_rise-01: its good answer fails takes_up"):
        validate(tasks.load(nobody_says), rubric)


def test_a_folder_without_tasks_or_with_one_id_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JoshiError, match="holds no tasks"):
        tasks.load(tmp_path / "empty")
    broken_copy(tmp_path)
    (tmp_path / "again.jsonl").write_bytes((tmp_path / "mine.jsonl").read_bytes())
    with pytest.raises(JoshiError, match="two tasks have the id"):
        tasks.load(tmp_path)


def test_reports_never_show_a_hidden_task(rubric: Rubric) -> None:
    chosen = [task for task in tasks.load() if task.family == "probing"]
    answers = [Completion(id=task.id, answer=task.good, tokens=9, finish="stop") for task in chosen]
    findings = [check(task.good, task, rubric) for task in chosen]
    shown = json.dumps(bench.shown_tasks(chosen, answers, findings))
    found = bench.summarise_tasks(chosen, findings)
    assert found["tasks"] == 15 and found["success"]["rate"] == 1.0
    for task in chosen:
        assert (task.id in shown) != task.hidden
        assert (json.dumps(task.good)[1:-1] in shown) != task.hidden


def test_curation_refuses_the_benchmark(tmp_path: Path) -> None:
    chat = {
        "messages": [
            {"role": "supplier", "content": f"Up 9%. {BENCHMARK_CANARY}"},
            {"role": "buyer", "content": "Why?"},
        ]
    }
    (tmp_path / "chats.jsonl").write_text(json.dumps(chat), encoding="utf-8")
    (found,) = read([tmp_path])
    assert isinstance(found, Unread) and "joshi-bench" in found.reason


def fair(play: Play) -> str:
    game, turn = play.game, len(play.broken)
    offer = [game.target, (game.target + game.limit) / 2, game.limit][min(turn // 2, 2)]
    return f"I hear the pressure you are under. We can offer {game.written(round(offer, 2))}. Could you accept that?"


def played(game: games.Game, rubric: Rubric, buyer: object) -> Play:
    play = begin(game)
    while not play.over:
        play.hear(buyer(play), rubric)  # type: ignore[operator]
    return play


def test_games_are_won_by_bargaining_and_never_by_giving_in_or_waiting(rubric: Rubric) -> None:
    found = games.load()
    assert Counter(game.supplier for game in found) == Counter(dict.fromkeys(TEMPERS, 6))
    assert sum(game.hidden for game in found) == 6
    won = [played(game, rubric, fair) for game in found]
    assert sum(play.success for play in won) >= 20
    assert all(play.agreed <= play.game.limit for play in won if play.success and play.agreed is not None)
    given = [played(game, rubric, lambda play: "Thanks. We accept your price.") for game in found]
    assert all(play.agreed == play.game.opening and not play.success for play in given)
    waited = [played(game, rubric, lambda play: "We hear you. Could you tell us more?") for game in found]
    assert all(play.agreed is None and len(play.broken) == play.game.turns for play in waited)
    summary = bench.summarise_games(won, 7)
    assert summary["success"]["rate"] == sum(play.success for play in won) / 30
    assert 0 < summary["gain"]["mean"] < 1


def test_who_believes_a_lie_pays_for_it(rubric: Rubric) -> None:
    for game in (game for game in games.load() if game.supplier == "deceptive"):
        play = begin(game)
        play.hear(f"We can offer {game.written(game.target)}. Could you accept that?", rubric)
        play.hear("Agreed.", rubric)
        assert play.agreed is not None and game.limit < play.agreed < game.opening
        assert not play.success


def test_an_angry_supplier_gives_way_to_who_takes_it_up(rubric: Rubric) -> None:
    game = next(game for game in games.load() if game.supplier == "angry")
    kind, rude = begin(game), begin(game)
    offer = game.written(game.target)
    kind.hear(
        f"I'm sorry for how that felt, and I see why you are upset. We can offer {offer}. Could you accept?", rubric
    )
    rude.hear(f"Stop whining, nobody cares. We can offer {offer}. Take it or leave it.", rubric)
    assert kind.price < game.opening == rude.price


@pytest.mark.parametrize("changes", [{"limit": 1.0}, {"supplier": "kind"}, {"target": 1e9}])
def test_a_wrong_game_is_told_with_its_line(tmp_path: Path, changes: dict[str, object]) -> None:
    line = json.loads((games.FOLDER / "silent.jsonl").read_text(encoding="utf-8").splitlines()[0])
    (tmp_path / "mine.jsonl").write_text(json.dumps(line | changes), encoding="utf-8")
    with pytest.raises(JoshiError, match=r"mine\.jsonl:1"):
        games.load(tmp_path)


def test_findings_name_what_failed(rubric: Rubric) -> None:
    task = next(task for task in tasks.load() if task.concession and task.secrets)
    found = check("Dear Sir, we accept your price. Regards", task, rubric)
    assert {"takes_up", "concession"} <= set(failed(found))
    assert all(finding.message for finding in found)
