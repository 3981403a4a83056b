"""joshi-bench: replies to write and negotiations to play, judged by programs.

A model sees each task as production would put it: the plan's system prompt, the state, the history, the instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joshi.evaluation.bench import games, tasks
from joshi.evaluation.bench.checks import CHECKS, check, sample_of
from joshi.evaluation.bench.games import TEMPERS, Game, Play, begin
from joshi.evaluation.bench.tasks import Task
from joshi.evaluation.measure import mean_interval, rate
from joshi.generate import Model, Request, Sampling, generate, seed_of
from joshi.plan import Plan
from joshi.progress import Progress
from joshi.prompt import messages_for
from joshi.rubric import Rubric, failed
from joshi.schema import Completion, Finding

FOLDERS = (tasks.FOLDER, games.FOLDER)


def do_tasks(
    chosen: Sequence[Task],
    model: Model,
    system_prompt: str,
    plan: Plan,
    rubric: Rubric,
    cache: Path,
    progress: Progress,
    label: str,
) -> tuple[list[Completion], list[list[Finding]]]:
    """The model's reply to each task, with the findings of its checks.

    Raises:
        JoshiError: a prompt does not fit the context window.
        Unavailable: the model's address does not answer.
    """
    requests = [
        Request(task.id, tuple(messages_for(sample_of(task), system_prompt)), seed_of(plan, "bench", task.id))
        for task in chosen
    ]
    sampling = Sampling(plan.release.temperature, plan.release.top_p, plan.evaluation.max_tokens)
    answers = generate(model, requests, sampling, plan, rubric.tokenizer, cache, progress, label)
    return answers, [check(answer.answer, task, rubric) for answer, task in zip(answers, chosen, strict=True)]


def play_games(
    chosen: Sequence[Game],
    model: Model,
    system_prompt: str,
    plan: Plan,
    rubric: Rubric,
    cache: Path,
    progress: Progress,
    label: str,
) -> list[Play]:
    """Every game to its end, all of them a turn at a time.

    Raises:
        JoshiError: a talk outgrows the context window.
        Unavailable: the model's address does not answer.
    """
    sampling = Sampling(plan.release.temperature, plan.release.top_p, plan.evaluation.max_tokens)
    plays = [begin(game) for game in chosen]
    for turn in range(max((game.turns for game in chosen), default=0)):
        still = [play for play in plays if not play.over]
        requests = [
            Request(
                f"{play.game.id}:{turn}", tuple(messages_for(play.sample(), system_prompt)),
                seed_of(plan, "game", play.game.id, str(turn)),
            )
            for play in still
        ]  # fmt: skip
        if not requests:
            break
        answers = generate(
            model, requests, sampling, plan, rubric.tokenizer, cache, progress, f"{label}, turn {turn + 1}"
        )
        for play, answer in zip(still, answers, strict=True):
            play.hear(answer.answer, rubric)
    return plays


def summarise_tasks(chosen: Sequence[Task], findings: Sequence[list[Finding]]) -> dict[str, Any]:
    """Success in all and by family, and how often each check passes where it is made; 95% intervals."""
    done = [not failed(found) for found in findings]
    families = sorted({task.family for task in chosen})
    made = {name: [f.passed for found in findings for f in found if f.rule == name] for name in CHECKS}
    return {
        "tasks": len(chosen),
        "success": rate(sum(done), len(done)),
        "families": {
            family: rate(
                sum(ok for ok, task in zip(done, chosen, strict=True) if task.family == family),
                sum(task.family == family for task in chosen),
            )
            for family in families
        },
        "checks": {
            name: rate(sum(passed), len(passed)) | {"n": len(passed)} for name, passed in made.items() if passed
        },
    }


def summarise_games(plays: Sequence[Play], seed: int) -> dict[str, Any]:
    """Deals, what they gained, and rules broken in each turn; 95% intervals."""
    n = len(plays)
    turns = max((len(play.broken) for play in plays), default=0)
    return {
        "games": n,
        "success": rate(sum(play.success for play in plays), n),
        "agreed": rate(sum(play.agreed is not None for play in plays), n),
        "over_limit": sum(play.agreed is not None and not play.success for play in plays),
        "gain": mean_interval([[play.gain] for play in plays], seed),
        "suppliers": {
            temper: rate(
                sum(play.success for play in plays if play.game.supplier == temper),
                sum(play.game.supplier == temper for play in plays),
            )
            for temper in TEMPERS
        },
        "broken_by_turn": [
            mean_interval([[float(len(play.broken[turn]))] for play in plays if turn < len(play.broken)], seed)
            for turn in range(turns)
        ],
    }


def shown_tasks(
    chosen: Sequence[Task], answers: Sequence[Completion], findings: Sequence[list[Finding]]
) -> list[dict[str, Any]]:
    """What a report may show of the tasks: hidden ones are counted and never told."""
    return [
        {
            "id": task.id, "message": task.context.history[-1].text, "answer": answer.answer,
            "failed": [f"{f.rule}: {f.message}" for f in found if not f.passed],
        }
        for task, answer, found in zip(chosen, answers, findings, strict=True)
        if not task.hidden
    ]  # fmt: skip


def shown_games(plays: Sequence[Play]) -> list[dict[str, Any]]:
    """What a report may show of the games, as talks."""
    return [
        {
            "id": play.game.id, "agreed": play.agreed, "limit": play.game.limit, "success": play.success,
            "gain": round(play.gain, 3), "talk": [turn.model_dump() for turn in play.history], "broken": play.broken,
        }
        for play in plays
        if not play.game.hidden
    ]  # fmt: skip
