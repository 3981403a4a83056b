"""The dataset card: Hugging Face front matter and what a person must know before using the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from joshi.plan import Plan
from joshi.schema import Sample

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


def write_card(plan: Plan, version: int, samples: Sequence[Sample], counts: dict[str, int], key: str) -> str:
    families = Counter(sample.provenance.family or "unknown" for sample in samples)
    redactions: Counter[str] = Counter()
    for sample in {s.provenance.conversation_id: s for s in samples}.values():
        redactions.update(sample.provenance.redactions)
    reviewers = Counter(sample.review.reviewer for sample in samples)
    automatic = reviewers.get("automatic", 0)
    size = next((label for limit, label in SIZES if len(samples) < limit), "n>100K")
    approval = (
        f"{automatic} of {len(samples)} samples were approved automatically by the plan; **no person has read them**."
        if automatic
        else f"Every sample was approved by a person: {', '.join(f'{n} by {who}' for who, n in reviewers.items())}."
    )
    rows = "\n".join(f"| {family} | {n} |" for family, n in sorted(families.items()))
    masked = ", ".join(f"{n} {kind}" for kind, n in redactions.most_common()) or "nothing"
    name = plan.curation.dataset
    return f"""---
language: en
license: other
pretty_name: {name} v{version}
size_categories:
- {size}
task_categories:
- text-generation
configs:
- config_name: sft
  data_files: sft_v{version}.jsonl
---
# {name}, version {version}

Replies of a buyer to suppliers in the house tone, for supervised fine-tuning: `instruction`, `context`, `ideal_answer`.

- **Samples:** {len(samples)}: {counts["train"]} to train on, {counts["development"]} to choose a checkpoint by,
  {counts["validation"]} held out for the gates; whole conversations each, named in `manifest_v{version}.json`.
- **Sources:** {", ".join(sorted({s.provenance.source for s in samples}))}.
- **Approval:** {approval}
- **Redaction:** people, firms, addresses, numbers of all kinds are placeholders; a price is a range about
  {plan.curation.price_band:.0%} wide that holds it. Replaced: {masked}. Rendering for training puts invented names and
  figures in their place.
- **Rubric:** every answer passes all seven rules of the plan that froze it.
- **Known limits:** redaction by patterns and a small English model misses some names; families and roles are as the
  sources had them; sentiments and offers that a source does not state are inferred (`provenance.inferred`).

| Family | Samples |
|---|---|
{rows}

Frozen from inputs `{key[:16]}` with seed {plan.seed}. Check it with `joshi dataset verify`.
"""
