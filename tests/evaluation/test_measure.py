"""Intervals against independent computations and by their coverage; gates decide as they say."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, geom, multinomial, norm

from joshi.evaluation.gates import Measured, attacks_needed, decide, judge, verdict
from joshi.evaluation.measure import (
    difference,
    mean_interval,
    percentile,
    percentile_interval,
    rate,
    summarise,
    token_overlap,
    upper_bound,
)
from joshi.evaluation.measured import lead_gates, leak_gate, likelihood_gates, quality_gates, quantisation_gates
from joshi.evaluation.systems import BASELINES, Answered, System
from joshi.plan import Plan
from joshi.plan_gates import GATES, MEANING, Gate
from joshi.rubric import RULES
from joshi.schema import Completion, Finding

# Intervals


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_rates_have_clopper_pearson_intervals(pair: tuple[int, int]) -> None:
    passed, n = pair
    expected = binomtest(passed, n).proportion_ci(0.95, method="exact")
    found = rate(passed, n)
    assert found["low"] == pytest.approx(expected.low, abs=1e-9)
    assert found["high"] == pytest.approx(expected.high, abs=1e-9)


@pytest.mark.parametrize("n", [5, 20, 60, 300])
def test_intervals_of_rates_cover_exactly(n: int) -> None:
    """Not simulated: of every count that can be seen, by its probability. One-sided too."""
    counts = np.arange(n + 1)
    found = [rate(int(k), n) for k in counts]
    low, high = (np.array([one[end] for one in found]) for end in ("low", "high"))
    bound = np.array([upper_bound(int(k), n) for k in counts])
    for p in (0.003, 0.01, 0.05, 0.2, 0.5, 0.77, 0.95, 0.999):
        weights = binom.pmf(counts, n, p)
        assert weights[(low <= p) & (p <= high)].sum() >= 0.95
        assert weights[p <= bound].sum() >= 0.95
    assert all(one < other for one, other in pairwise(bound))
    assert rate(0, 0) == {"rate": 0.0, "low": 0.0, "high": 1.0}
    assert upper_bound(n, n) == 1.0


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("n", [30, 60, 200])
def test_percentiles_and_their_intervals_cover(n: int, share: float) -> None:
    """Of lengths, which are skewed, whole and often equal."""
    random = np.random.default_rng([n, int(100 * share)])
    lengths = geom(0.02)
    truth, hits, draws = float(lengths.ppf(share)), 0, 500
    for values in lengths.rvs((draws, n), random_state=random).tolist():
        low, high = percentile_interval(values, share)
        assert low <= percentile(values, share) <= (math.inf if high is None else high)
        hits += low <= truth <= (math.inf if high is None else high)
    assert hits / draws >= 0.93  # 95% less two standard errors


def test_few_values_cannot_bound_a_p90() -> None:
    assert percentile_interval([5, 6, 7], 0.9)[1] is None
    assert [percentile_interval(range(n), 0.9)[1] is None for n in (35, 36)] == [True, False]  # 0.9^36 < 2.5%


def paired(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    return (
        [True] * both + [True] * first + [False] * second + [False] * neither,
        [True] * both + [False] * first + [True] * second + [False] * neither,
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        # Fagerland, Lydersen & Laake, Stat Med 2014, 33:2850-2875, airway hyper-responsiveness (Bentur et al.).
        ((1, 1, 7, 12), (-0.2857, -0.507, -0.026)),
        # Altman et al., Statistics with Confidence, 2nd edition 2000, table 6.2.
        ((14, 5, 0, 22), (0.1220, 0.011, 0.226)),
    ],
)
def test_newcombes_paired_interval_is_that_of_published_examples(
    table: tuple[int, int, int, int], expected: tuple[float, float, float]
) -> None:
    found = difference(*paired(*table))
    assert found["rate"] == pytest.approx(expected[0], abs=5e-5)
    assert (found["low"], found["high"]) == pytest.approx(expected[1:], abs=5e-4)


TABLES = st.tuples(*[st.integers(0, 25)] * 4).filter(any)


@given(TABLES)
def test_newcombes_paired_interval_is_the_formula(table: tuple[int, int, int, int]) -> None:
    """Computed anew: Wilson's limits as the roots of |p - x| = z sqrt(x (1 - x) / n), phi as the paper has it."""
    a, b, c, d = table
    n, z = a + b + c + d, norm.ppf(0.975)
    (p, (l1, u1)), (q, (l2, u2)) = (
        (k / n, sorted(np.roots([1 + z**2 / n, -(2 * k / n + z**2 / n), (k / n) ** 2]).real)) for k in (a + b, a + c)
    )
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    numerator = a * d - b * c
    if numerator > 0:
        numerator = max(numerator - n / 2, 0)
    phi = numerator / math.sqrt(margins) if margins else 0
    # The length of a sum of two vectors whose angle has the cosine -phi.
    below = math.sqrt(max((p - l1) ** 2 + (u2 - q) ** 2 - 2 * phi * (p - l1) * (u2 - q), 0))
    above = math.sqrt(max((u1 - p) ** 2 + (q - l2) ** 2 - 2 * phi * (u1 - p) * (q - l2), 0))
    found = difference(*paired(*table))
    expected = {"rate": p - q, "low": p - q - below, "high": p - q + above}
    assert found == pytest.approx(expected, abs=1e-6)
    other = difference(*paired(a, c, b, d))
    assert (other["low"], other["high"]) == pytest.approx((-found["high"], -found["low"]), abs=1e-9)
    assert -1 - 1e-9 <= found["low"] <= found["rate"] <= found["high"] <= 1 + 1e-9


@pytest.mark.parametrize(("n", "least"), [(20, 0.925), (40, 0.94)])
def test_the_paired_interval_covers_exactly(n: int, least: float) -> None:
    """Not simulated: of every table that can be seen, by its probability, over 70 pairs of rates and correlations.

    Measured: at n = 20, the fewest that a gate takes, 92.96% at worst and 96.2% in the mean; at 40, 94.4% and 95.9%.
    """
    tables = [(a, b, c, n - a - b - c) for a in range(n + 1) for b in range(n + 1 - a) for c in range(n + 1 - a - b)]
    found = [difference(*paired(*table)) for table in tables]
    low, high = (np.array([one[end] for one in found]) for end in ("low", "high"))
    coverage = []
    for p in (0.1, 0.3, 0.5, 0.8, 0.95):
        for q in (0.1, 0.3, 0.5, 0.8, 0.95):
            for phi in (-0.3, 0.0, 0.3, 0.6, 0.9):
                both = p * q + phi * math.sqrt(p * (1 - p) * q * (1 - q))
                cells = np.array([both, p - both, q - both, 1 - p - q + both])
                if cells.min() < 0:
                    continue  # no such correlation
                weights = multinomial.pmf(tables, n, cells / cells.sum())
                coverage.append(float(weights[(low <= p - q) & (p - q <= high)].sum()))
    assert len(coverage) == 70
    assert min(coverage) >= least
    assert np.mean(coverage) >= 0.95


def test_pairs_must_pair() -> None:
    with pytest.raises(ValueError, match="zip"):
        difference([True], [True, False])


def test_means_over_clusters_cover() -> None:
    """30 answers of 5 to 40 tokens that share a level: tokens of one answer are not independent observations.

    Measured: 93%; 47.5% where all tokens are taken as independent.
    """
    random = np.random.default_rng(3)
    draws, hits, apart = 400, 0, 0
    for draw in range(draws):
        sizes = random.integers(5, 41, 30)
        clusters = [(2.0 + random.gamma(2.0, 0.5) + random.normal(0, 1, size)).tolist() for size in sizes]
        found = mean_interval(clusters, seed=draw, draws=1_000)
        values = np.concatenate(clusters)
        assert found["mean"] == pytest.approx(values.mean())
        hits += found["low"] <= 3.0 <= found["high"]
        apart += abs(values.mean() - 3.0) <= 1.96 * values.std() / math.sqrt(len(values))
    assert hits / draws >= 0.9
    assert apart / draws < 0.7


def test_means_of_the_same_values_are_certain_and_repeatable() -> None:
    assert mean_interval([[0.0], [0.0, 0.0]], seed=1) == {"mean": 0, "low": 0, "high": 0}
    clusters = np.random.default_rng(0).normal(0, 1, (20, 3)).tolist()
    assert mean_interval(clusters, seed=1) == mean_interval(clusters, seed=1) != mean_interval(clusters, seed=2)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("a b c d", "a b c d", 1), ("a b", "c d", 0), ("", "a", 0), ("", "", 0), ("a a b", "a b b", 2 / 3),
     ("A, b!", "a b", 1)],
)  # fmt: skip
def test_token_overlap_is_f1_of_words(one: str, other: str, expected: float) -> None:
    assert token_overlap(one, other) == pytest.approx(expected)
    assert token_overlap(other, one) == pytest.approx(expected)


# Gates

PLAN = Plan()
NUMBERS = [name for name in GATES if name != "leak_rate"]  # judged by its value, not by its interval


def one(gate: str, value: float, n: int) -> Measured:
    return Measured(gate, gate, value, value - 0.1, value + 0.1, n)


def gate_verdict(measured: Measured, gate: Gate) -> str:
    found = decide(measured, gate)
    assert (found["bound"], found["direction"], found["n"]) == (gate.bound, gate.direction, measured.n)
    return str(found["verdict"])


def test_every_gate_has_its_meaning() -> None:
    assert list(GATES) == list(MEANING)
    assert PLAN.evaluation.gates == GATES


@pytest.mark.parametrize("name", NUMBERS)
def test_a_gate_passes_fails_and_waits_for_observations(name: str) -> None:
    gate = GATES[name]
    good, bad = (-1e-6, 1e-6) if gate.direction == "below" else (1e-6, -1e-6)
    enough = gate.minimum
    assert gate_verdict(one(name, gate.bound + good, enough), gate) == "pass"
    assert gate_verdict(one(name, gate.bound + bad, enough), gate) == "fail"
    assert gate_verdict(one(name, gate.bound, enough), gate) == ("fail" if gate.direction == "below" else "pass")
    for value in (gate.bound + good, gate.bound + bad):
        assert gate_verdict(one(name, value, enough - 1), gate) == "insufficient"
    none = gate.model_copy(update={"minimum": 0})
    assert gate_verdict(one(name, gate.bound + good, 0), none) == "insufficient"


def attacked(leaked: int, n: int) -> dict[str, float]:
    low, high = 1 - upper_bound(n - leaked, n), upper_bound(leaked, n)
    return {"n": n, "leaked": leaked, "rate": leaked / n, "low": low, "high": high}


@pytest.mark.parametrize(
    ("leaked", "n", "expected"),
    [(0, 330, "pass"), (0, 299, "pass"), (0, 298, "insufficient"), (1, 330, "fail"), (1, 100, "insufficient"),
     (10, 100, "fail"), (3, 3, "fail")],
)  # fmt: skip
def test_secrets_that_get_out_stop_a_release(leaked: int, n: int, expected: str) -> None:
    """The plan's bound is 1%: none of 299 attacks is below it, none of 298 shows too little, many leaks show enough."""
    assert gate_verdict(leak_gate(attacked(leaked, n)), GATES["leak_rate"]) == expected
    assert verdict(judge(good(leaked=leaked, attacks=n), PLAN)) == expected


def test_the_leak_gate_follows_its_bound_and_minimum() -> None:
    assert [attacks_needed(bound) for bound in (0.01, 0.05, 0.5, 1.0)] == [299, 59, 5, 1]
    for bound in (0.01, 0.05, 0.5):
        gate, n = GATES["leak_rate"].model_copy(update={"bound": bound}), attacks_needed(bound)
        verdicts = [gate_verdict(leak_gate(attacked(0, k)), gate) for k in (n - 1, n)]
        assert verdicts == ["insufficient", "pass"]
    many = GATES["leak_rate"].model_copy(update={"minimum": 1_000})
    assert gate_verdict(leak_gate(attacked(0, 2_000)), many) == "pass"
    assert gate_verdict(leak_gate(attacked(0, 999)), many) != "pass"
    assert gate_verdict(Measured("leak_rate", "x", 0.0, None, None, 0), GATES["leak_rate"]) == "insufficient"


def system(passes: int, n: int = 30, tokens: int = 50, toxic: int = 0) -> dict[str, Any]:
    found = answered(passes, n, tokens)
    summary = summarise(found.answers, found.findings, ["Fine then."] * n, seed=7)
    return {"label": "x", **summary, "toxic": rate(toxic, n)}


def answered(passes: int, n: int = 30, tokens: int = 50) -> Answered:
    answers = [Completion(id=str(i), answer="Fine then.", tokens=tokens, finish="stop") for i in range(n)]
    findings = [[Finding(rule=rule, passed=i < passes, message="") for rule in RULES] for i in range(n)]
    return Answered(System("x", "x", Path("x.gguf"), ""), answers, findings)


def good(
    passes: int = 28, baseline: int = 3, n: int = 30, tokens: int = 50, toxic: int = 0, leaked: int = 0,
    attacks: int = 330, risen: float = 0.1, kl: float = 0.05, lost: float = -0.02,
) -> list[Measured]:  # fmt: skip
    """What every required gate is judged by, of a model without fault unless the arguments say otherwise."""
    both = {name: answered(baseline, n) for name in BASELINES} | {"shipped": answered(passes, n, tokens)}
    general = {"general": {"tokens": 8_000}, "general_rise": {"mean": risen, "low": risen - 0.05, "high": risen + 0.05}}
    quantised = {
        "kl": {"mean": kl, "low": kl - 0.01, "high": kl + 0.01}, "tokens": 2_000, "answers": n,
        "rules": {"rate": lost, "low": lost - 0.1, "high": lost + 0.1},
    }  # fmt: skip
    return [
        *quality_gates(system(passes, n, tokens, toxic), PLAN),
        *lead_gates(both, {name: name for name in BASELINES}, PLAN),
        leak_gate(attacked(leaked, attacks)),
        *likelihood_gates({"shipped": general}),
        *quantisation_gates(quantised),
    ]


def failing(measured: list[Measured], plan: Plan = PLAN) -> set[str]:
    return {row["name"] for row in judge(measured, plan) if row["required"] and row["verdict"] != "pass"}


def test_a_good_model_passes_and_bad_ones_are_refused() -> None:
    rows = judge(good(), PLAN)
    assert verdict(rows) == "pass"
    leads = [f"{rule} over {baseline}" for rule in PLAN.evaluation.must_lead for baseline in BASELINES]
    assert [row["name"] for row in rows] == [
        "p90_tokens", "all_rules", *leads, "leak_rate", "toxic_rate", "general_loss", "quantization_kl",
        "quantization_rules",
    ]  # fmt: skip
    assert failing(good(passes=3, baseline=28)) == {"all_rules", *leads}
    assert failing(good(tokens=170)) == {"p90_tokens"}
    assert failing(good(passes=5, baseline=5)) == {"all_rules"}  # no lead is no loss, but too few pass all rules
    assert failing(good(passes=20, baseline=21)) == set(leads)
    assert failing(good(toxic=2)) == {"toxic_rate"}
    assert failing(good(risen=0.3)) == {"general_loss"}
    assert failing(good(kl=0.2)) == {"quantization_kl"}
    assert failing(good(lost=-0.15)) == {"quantization_rules"}
    for wrong in (good(passes=3), good(tokens=170), good(toxic=2), good(risen=0.3), good(kl=0.2), good(lost=-0.15)):
        assert verdict(judge(wrong, PLAN)) == "fail"
    assert verdict(judge(good(passes=10, n=10), PLAN)) == "insufficient"
    assert verdict(judge(good(passes=10, n=10, kl=0.2), PLAN)) == "fail"  # what failed is not made better by doubt


def test_a_required_gate_that_was_not_measured_is_insufficient() -> None:
    for name, gate in GATES.items():
        rows = judge([m for m in good() if m.gate != name], PLAN)
        wanted = gate.required and name != "against_release"  # before the first release there is none to compare with
        assert verdict(rows) == ("insufficient" if wanted else "pass"), name
        found = [row for row in rows if row["name"] == name]
        if wanted:
            assert [(row["verdict"], row["text"]) for row in found] == [("insufficient", f"{name}: not measured")]
    assert all(row["verdict"] == "insufficient" for row in judge([], PLAN))
    worse = judge([*good(), one("against_release", -0.2, 30)], PLAN)
    assert [row["name"] for row in worse if row["verdict"] == "fail"] == ["against_release"]
    no_lead = Plan.model_validate({"evaluation": {"must_lead": []}})
    assert verdict(judge([m for m in good() if m.gate != "lead"], no_lead)) == "pass"


def test_a_gate_that_is_not_required_decides_nothing() -> None:
    informative = [name for name, gate in GATES.items() if not gate.required]
    assert informative == ["task_success", "game_success", "memorised", "human_review"]
    bad = [one(name, 1.0 if GATES[name].direction == "below" else 0.0, 1_000) for name in informative]
    rows = judge(good() + bad, PLAN)
    assert [row["verdict"] for row in rows if not row["required"]] == ["fail"] * 4
    assert verdict(rows) == "pass"
    strict = Plan.model_validate({"evaluation": {"gates": {"memorised": {"required": True}}}})
    assert verdict(judge(good() + bad, strict)) == "fail"
    assert verdict(judge(good(), strict)) == "insufficient"
    lenient = Plan.model_validate({"evaluation": {"gates": {"quantization_kl": {"required": False}}}})
    assert verdict(judge(good(kl=0.2), lenient)) == "pass"


def test_the_plans_bounds_are_what_is_judged_by() -> None:
    def with_gates(**gates: Any) -> Plan:
        return Plan.model_validate({"evaluation": {"gates": gates}})

    assert failing(good(kl=0.2), with_gates(quantization_kl=0.25)) == set()
    assert failing(good(), with_gates(quantization_kl=0.04)) == {"quantization_kl"}
    assert failing(good(), with_gates(p90_tokens=50)) == {"p90_tokens"}
    assert failing(good(passes=10, n=10), with_gates(all_rules={"minimum": 10})).isdisjoint({"all_rules"})
    assert failing(good(leaked=1), with_gates(leak_rate=0.5)) == set()
    assert failing(good(), with_gates(toxic_rate={"direction": "at least"})) == {"toxic_rate"}


# The summary


def test_the_summary_counts_what_the_findings_say() -> None:
    found = summarise(
        [
            Completion(id="1", answer="a b c d", tokens=4, finish="stop"),
            Completion(id="2", answer="", tokens=0, finish="empty"),
        ],
        [
            [Finding(rule=r, passed=True, message="") for r in RULES],
            [Finding(rule=r, passed=False, message="") for r in RULES],
        ],
        ["a b c d", "x"],
        seed=7,
    )
    assert found["all_rules"]["rate"] == 0.5
    assert found["finish"] == {"stop": 1, "length": 0, "empty": 1, "loop": 0}
    assert found["warmth"]["low"] + found["warmth"]["high"] > 0 and 0 < found["warmth"]["mean"] < 1
    assert found["tokens"]["values"] == [4, 0]
