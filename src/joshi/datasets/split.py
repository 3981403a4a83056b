"""Which samples a version takes, and which of them are set aside: whole conversations, a supplier on one side only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from joshi.plan import Plan
from joshi.rubric.learned import warmth
from joshi.schema import Sample
from joshi.workspace import sha256_text

WINDOW = 50  # conversations of a family that are compared before one is taken; bounds the time for huge sources


def select(samples: Sequence[Sample], validation: set[str], plan: Plan) -> list[Sample]:
    """At most the plan's number, in source order; held-out conversations stay whole.

    Training conversations are taken in turn from each family, so that none is crowded out; of a family the one whose
    rounds and sentiments are rarest so far and whose answers are warmest comes first (what is approved keeps every
    rule, so that the rules cannot rank it). They are taken whole, so that their turns share a history.
    """
    most = plan.curation.sft_samples[1]
    if len(samples) <= most:
        return list(samples)
    talks: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        talks[sample.provenance.conversation_id].append(sample)
    queues: dict[str, list[str]] = defaultdict(list)
    for name in sorted(talks.keys() - validation, key=lambda name: sha256_text(f"{plan.seed}:{name}"), reverse=True):
        queues[talks[name][0].provenance.family or ""].append(name)
    chosen = set(validation)
    used = sum(len(talks[name]) for name in validation if name in talks)
    seen: Counter[tuple[str, object]] = Counter(
        trait for name in chosen for s in talks.get(name, []) for trait in _traits(s)
    )
    warm: dict[str, float] = {}

    def worth(name: str) -> float:
        if name not in warm:
            warm[name] = sum(warmth(sample.ideal_answer) for sample in talks[name]) / len(talks[name])
        return _rarity(talks[name], seen) * (1 + warm[name])

    while used < most and any(queues.values()):
        for queue in (queues[name] for name in sorted(queues)):
            if not queue:
                continue
            name = queue.pop(max(range(len(queue))[-WINDOW:], key=lambda i: (worth(queue[i]), i)))
            if used + len(talks[name]) <= most:
                chosen.add(name)
                used += len(talks[name])
                seen.update(trait for sample in talks[name] for trait in _traits(sample))
    return [sample for sample in samples if sample.provenance.conversation_id in chosen]


def _traits(sample: Sample) -> list[tuple[str, object]]:
    return [("round", min(sample.context.round, 5)), ("sentiment", sample.context.supplier_sentiment)]


def _rarity(talk: Sequence[Sample], seen: Counter[tuple[str, object]]) -> float:
    """Mean over a conversation's samples of how rare their round and sentiment are so far."""
    return sum(1 / (1 + seen[trait]) for sample in talk for trait in _traits(sample)) / len(talk)


def split(samples: Sequence[Sample], fraction: float, plan: Plan) -> set[str]:
    """Ids of conversations to set aside: this fraction of them, spread over the families, at least one.

    Where there are more samples than the plan takes, it is the share of what it takes, counted in samples. All
    conversations with one supplier stand on one side, or the model would be judged on a supplier it knows. A
    conversation is drawn by the hash of its id, so that adding data moves no conversation of another family.
    """
    talks = _by_supplier(samples)
    families: dict[str, set[str]] = defaultdict(set)
    sizes: Counter[str] = Counter()
    for sample in samples:
        name = talks[sample.provenance.conversation_id][0]
        sizes[name] += 1
        if name == sample.provenance.conversation_id:
            families[sample.provenance.family or ""].add(name)
    wanted = max(1, round(sum(map(len, families.values())) * fraction))
    ranked: list[tuple[float, str]] = []
    for ids in families.values():
        order = sorted(ids, key=lambda i: sha256_text(f"{plan.seed}:{i}"))
        # The k-th of a family of n stands at (k + ½) / n, so one from each family comes before two from any.
        ranked += [((place + 0.5) / len(order), name) for place, name in enumerate(order)]
    ranked.sort(key=lambda item: (item[0], sha256_text(f"{plan.seed}:{item[1]}")))
    room = round(plan.curation.sft_samples[1] * fraction)
    chosen = {ranked[0][1]}
    for _, name in ranked[1:wanted]:
        if len(samples) <= plan.curation.sft_samples[1] or sum(sizes[c] for c in chosen) + sizes[name] <= room:
            chosen.add(name)
    return {talk for name in chosen for talk in talks[name]}


def _by_supplier(samples: Sequence[Sample]) -> dict[str, list[str]]:
    """Conversation to all conversations with its supplier, itself where no supplier is known; first one first."""
    groups: dict[str, list[str]] = {}
    for sample in samples:
        conversation = sample.provenance.conversation_id
        group = groups.setdefault(sample.provenance.supplier or f"talk:{conversation}", [])
        if conversation not in group:
            group.append(conversation)
    return {conversation: group for group in groups.values() for conversation in group}
