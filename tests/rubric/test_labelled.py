"""Each rule on labelled answers, half of them hard; docs/rubric.md shows the table that this guards."""

from __future__ import annotations

import pytest

from joshi.rubric import Rubric

from .labels import LABELLED_RULES, measured

# (precision, recall) that each rule had when it was last taught or mended, less what one answer in 50 may change.
FLOORS = {
    "acknowledgement": {"development": (0.74, 0.60), "unseen": (0.77, 0.53)},
    "no_boilerplate": {"development": (0.92, 0.98), "unseen": (0.94, 0.90)},
    "one_next_step": {"development": (0.79, 0.74), "unseen": (0.69, 0.69)},
    "no_internals": {"development": (0.86, 0.66), "unseen": (0.86, 0.56)},
    "grounded": {"development": (0.86, 0.66), "unseen": (0.80, 0.53)},
    "professional": {"development": (0.74, 0.66), "unseen": (0.79, 0.76)},
}


@pytest.mark.parametrize("rule", LABELLED_RULES)
@pytest.mark.parametrize("part", ["development", "unseen"])
def test_a_rule_judges_as_its_annotator_did(rubric: Rubric, rule: str, part: str) -> None:
    found = measured(rubric, rule, part)
    assert found.answers == (100 if part == "development" else 60)
    precision, recall = FLOORS[rule][part]
    assert found.precision >= precision
    assert found.recall >= recall
