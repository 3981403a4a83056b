"""What a good answer is: seven rules, as code, used by every stage from curation to drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from joshi import embedding
from joshi.plan import Plan
from joshi.prompt import ChatTokenizer, context_text
from joshi.rubric import acknowledgement, boilerplate, grounded, internals, next_step, professional
from joshi.rubric.text import MOST_CHARACTERS, sentences
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
VERSION = 2

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
        embedding.warm(texts_of(answer, sample))
        return [self.judge(rule, answer, sample) for rule in RULES]

    def judge(self, rule: str, answer: str, sample: Sample) -> Finding:
        """One rule alone. Of a text far beyond any limit, only the beginning is looked at: its length fails it anyway."""
        if rule != "length":
            answer = answer[:MOST_CHARACTERS]
        rules, context = self.plan.rubric, sample.context
        match rule:
            case "acknowledgement":
                limit, count = rules.acknowledgement_tokens, self.tokenizer.count
                return acknowledgement.check(answer, _message(sample), limit, count)
            case "no_boilerplate":
                return boilerplate.check(answer)
            case "one_next_step":
                return next_step.check(answer, rules.next_steps)
            case "no_internals":
                open_text = context_text(context.model_copy(update={"notes": None})) + "\n" + sample.instruction
                return internals.check(answer, context, open_text, rules.internal_terms)
            case "grounded":
                return self._grounded(answer, context_text(context) + "\n" + sample.instruction)
            case "length":
                tokens = self.tokenizer.count(answer)
                message = f"{tokens} tokens, at most {rules.length_tokens}"
                return Finding(rule="length", passed=tokens <= rules.length_tokens, message=message)
            case "professional":
                return professional.check(answer)
        raise ValueError(f"no rule is called {rule!r}; there are {', '.join(RULES)}")

    def _grounded(self, answer: str, known: str) -> Finding:
        # A placeholder in an answer is a name that nobody bears.
        if found := PLACEHOLDER.search(answer):
            return Finding(rule="grounded", passed=False, message=f"a placeholder: {found.group()}", span=found.span())
        return grounded.check(answer, known)

    def score(self, answer: str, sample: Sample) -> float:
        """The empathy score in 0..1: the weighted share of rules that pass (WEIGHTS)."""
        return sum(WEIGHTS[finding.rule] for finding in self.check(answer, sample) if finding.passed)


def _message(sample: Sample) -> str:
    return sample.context.history[-1].text if sample.context.history else ""


def texts_of(answer: str, sample: Sample) -> list[str]:
    """What the learned judgements look at, for `embedding.warm`."""
    answer = answer[:MOST_CHARACTERS]
    first = acknowledgement.first_sentence(answer)
    parts = [answer[slice(*span)] for span in [*sentences(answer), *next_step.clauses(answer)]]
    return [answer, _message(sample), *parts, *([answer[slice(*first)]] if first else [])]


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
