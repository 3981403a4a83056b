"""Whether people preferred the longer answer, where the evaluation's answers are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joshi.evaluation.measure import rate
from joshi.review.blind.clustered import flip_test
from joshi.review.blind.comparisons import Comparison
from joshi.review.blind.judgement import System


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
