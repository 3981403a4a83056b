"""Whether people preferred the longer answer, where the evaluation's answers are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from joshi.errors import JoshiError
from joshi.evaluation.measure import rate
from joshi.review.blind.clustered import flip_test
from joshi.review.blind.comparisons import Comparison
from joshi.review.blind.judgement import System
from joshi.schema import Record
from joshi.workspace import Workspace


def length_bias(compared: Sequence[Comparison], tokens: Mapping[str, Mapping[System, int]]) -> dict[str, Any] | None:
    """Of decided samples whose answers differ in length: how often the longer one was preferred, with the sign test.

    One system writes longer answers than the other as a rule; so the shipped model's wins are told apart by whether
    its answer was the longer one. A preference that turns with the length is a preference for length.

    Args:
        tokens: of either answer, by item; without any of the decided items there is nothing to say: None.
    """
    found = [
        (one, tokens[one.item]["shipped"] - tokens[one.item]["baseline"])
        for one in compared
        if one.sign and one.item in tokens
    ]
    differing = [(one, gap > 0) for one, gap in found if gap]
    if not differing:
        return None
    longer = [(one.sign > 0) == shipped_is_longer for one, shipped_is_longer in differing]
    signs = [1 if preferred else -1 for preferred in longer]
    wins = {
        kind: [one.sign > 0 for one, shipped_is_longer in differing if shipped_is_longer == wanted]
        for kind, wanted in (("shipped_longer", True), ("shipped_shorter", False))
    }
    return {
        "n": len(longer),
        "longer_preferred": {"count": sum(longer), **rate(sum(longer), len(longer))},
        "p_clustered": flip_test(signs, [one.conversation for one, _ in differing]).p,
        **{kind: {"wins": sum(won), "n": len(won), **rate(sum(won), len(won))} for kind, won in wins.items()},
    }


class _Answer(Record, extra="ignore"):
    tokens: int


class _Answers(Record, extra="ignore"):
    id: str
    answers: dict[str, _Answer]


class _Judged(Record, extra="ignore"):
    model_sha256: str


def answer_tokens(workspace: Workspace, model_sha256: str, baseline: str) -> dict[str, dict[System, int]]:
    """Lengths of both answers by sample, from the evaluation; none if it judged another file or no such baseline.

    Raises:
        JoshiError: reports/evaluation/report.json or answers.json cannot be read.
    """
    report, answers = (workspace.evaluation_report / name for name in ("report.json", "answers.json"))
    try:
        if _Judged.model_validate_json(report.read_bytes()).model_sha256 != model_sha256:
            return {}
        shown = TypeAdapter(list[_Answers]).validate_json(answers.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise JoshiError(
            f"{answers} or report.json beside it cannot be read: {str(error).splitlines()[0]}; run 'joshi evaluate' "
            "again, or delete both"
        ) from error
    return {
        one.id: {"shipped": one.answers["shipped"].tokens, "baseline": one.answers[baseline].tokens}
        for one in shown
        if {"shipped", baseline} <= one.answers.keys()
    }
