"""What a good answer is: seven rules, as code, used by every stage from curation to drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from joshi.plan import Plan
from joshi.prompt import ChatTokenizer, context_text
from joshi.rubric import acknowledgement, boilerplate, grounded, internals, next_step, professional
from joshi.schema import Finding, Sample
from joshi.surrogates import PLACEHOLDER

RULES = (
    "acknowledgement",
    "no_boilerplate",
    "one_next_step",
    "no_internals",
    "grounded",
    "length",
    "professional",
)
VERSION = 1

# Share of each rule in the empathy score: what the supplier feels first weighs most.
WEIGHTS = {
    "acknowledgement": 0.3,
    "professional": 0.2,
    "no_boilerplate": 0.15,
    "one_next_step": 0.1,
    "length": 0.1,
    "grounded": 0.1,
    "no_internals": 0.05,
}


@dataclass(frozen=True)
class Rubric:
    plan: Plan
    tokenizer: ChatTokenizer

    def check(self, answer: str, sample: Sample) -> list[Finding]:
        """One finding a rule, in the order of RULES. Fill the sample's surrogates first."""
        rules, context = self.plan.rubric, sample.context
        message = context.history[-1].text if context.history else ""
        open_text = context_text(context.model_copy(update={"notes": None})) + "\n" + sample.instruction
        tokens = self.tokenizer.count(answer)
        return [
            acknowledgement.check(answer, message, rules.acknowledgement_tokens, self.tokenizer.count),
            boilerplate.check(answer),
            next_step.check(answer, rules.next_steps),
            internals.check(answer, context, open_text, rules.internal_terms),
            self._grounded(answer, context_text(context) + "\n" + sample.instruction),
            Finding(
                rule="length",
                passed=tokens <= rules.length_tokens,
                message=f"{tokens} tokens, at most {rules.length_tokens}",
            ),
            professional.check(answer),
        ]

    def _grounded(self, answer: str, known: str) -> Finding:
        # A placeholder in an answer is a name that nobody bears.
        if found := PLACEHOLDER.search(answer):
            return Finding(rule="grounded", passed=False, message=f"a placeholder: {found.group()}", span=found.span())
        return grounded.check(answer, known)

    def score(self, answer: str, sample: Sample) -> float:
        """The empathy score in 0..1: the weighted share of rules that pass (WEIGHTS)."""
        return sum(WEIGHTS[finding.rule] for finding in self.check(answer, sample) if finding.passed)


def failed(findings: list[Finding]) -> list[str]:
    return [finding.rule for finding in findings if not finding.passed]


def percentile(values: Sequence[int], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed: P90 is the length rule over a set."""
    ordered = sorted(values)
    return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)])


def rules_text(plan: Plan) -> str:
    """All rules as a prompt: what a user would write instead of tuning."""
    rules = plan.rubric
    return (
        "Follow every rule. "
        f"1. Open with one sentence of at most {rules.acknowledgement_tokens} tokens that acknowledges what this "
        "supplier just said. "
        "2. No greeting, no closing, no signature, no polite formulas. "
        f"3. Make exactly {rules.next_steps} request or next step, as the last sentence. "
        "4. Never mention internal notes, tools, policies, approvers, escalation, target or walk-away prices, or other "
        "suppliers' quotes. "
        "5. Use only figures, dates and names that appear in the conversation or the instruction. "
        f"6. At most {rules.length_tokens} tokens; three or four plain sentences. "
        "7. Be warm and professional, never dismissive."
    )
