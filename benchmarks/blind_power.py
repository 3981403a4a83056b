"""What blind reviews of a size can show, exactly; and by simulation how often their intervals hold the truth.

python -m benchmarks.blind_power              # the table of docs/blind-review.md, in a second
python -m benchmarks.blind_power --coverage   # the simulations, about two minutes
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from joshi.evaluation.measure import rate
from joshi.review.blind.alpha import alpha
from joshi.review.blind.clustered import clustered_rate
from joshi.review.blind.power import RATES, detectable, fewest_wins, pairs_needed, power

SIZES = (6, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300)
SHOWN = (0.6, 0.7, 0.75, 0.8, 0.9)
LIKENESS = (0.0, 0.2, 0.5, 1.0)  # correlation of two samples of one conversation
CARE = (0.5, 0.75, 0.9)  # chance that a reviewer says what is so
SHAPES: dict[str, tuple[int, Sequence[int]]] = {  # conversations, and the samples one may have
    "30 of 1": (30, [1]),
    "15 of 2": (15, [2]),
    "10 of 3": (10, [3]),
    "20 of 1 to 3": (20, [1, 2, 3]),
    "8 of 1, 2, 3 or 8": (8, [1, 2, 3, 8]),
    "5 of 6": (5, [6]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    if given.coverage:
        intervals(given.draws, given.seed)
        agreements(given.draws, given.seed)
    else:
        table()


def table() -> None:
    """Power of the two-sided sign test at 5% for so many decided pairs, and the pairs that a true win rate needs."""
    print("| Decided pairs | Fewest wins | 80% power from | " + " | ".join(f"at {r:.0%}" for r in SHOWN) + " |")
    print("|" + "---|" * (3 + len(SHOWN)))
    for pairs in SIZES:
        cells = [f"{power(pairs, r):.0%}" for r in SHOWN]
        print(f"| {pairs} | {fewest_wins(pairs)} | {detectable(pairs):.1%} | {' | '.join(cells)} |")
    print("\n| True win rate | " + " | ".join(f"{r:.0%}" for r in RATES) + " |\n|" + "---|" * (1 + len(RATES)))
    needed = [pairs_needed(r) for r in RATES]
    print("| 80% power first at | " + " | ".join(str(first) for first, _ in needed) + " |")
    print("| and always from | " + " | ".join(str(lasting) for _, lasting in needed) + " |")


def intervals(draws: int, seed: int) -> None:
    """How often the clustered and the plain interval hold the true win rate; conversations are beta-binomial."""
    print(
        f"\nShare of {draws} reviews whose 95% interval holds the true win rate: by conversation / as if independent."
    )
    print("| Conversations | True | " + " | ".join(f"correlation {c:g}" for c in LIKENESS) + " |")
    print("|" + "---|" * (2 + len(LIKENESS)))
    for name, (conversations, sizes) in SHAPES.items():
        for truth in (0.5, 0.7, 0.9):
            found = [covered(conversations, sizes, truth, c, draws, seed) for c in LIKENESS]
            print(f"| {name} | {truth:g} | " + " | ".join(f"{a:.1%} / {b:.1%}" for a, b in found) + " |", flush=True)


def covered(
    conversations: int, sizes: Sequence[int], truth: float, likeness: float, draws: int, seed: int
) -> tuple[float, float]:
    """Coverage of the clustered and of the plain interval."""
    random = np.random.default_rng(seed)
    held = np.zeros(2)
    for _ in range(draws):
        n = random.choice(sizes, conversations)
        wins, cluster = talks(random, n, truth, likeness)
        found = [clustered_rate(wins.tolist(), cluster.tolist()), rate(int(wins.sum()), len(wins))]
        held += [one["low"] <= truth <= one["high"] for one in found]
    clustered, plain = held / draws
    return float(clustered), float(plain)


def talks(random: np.random.Generator, n: np.ndarray, truth: float, likeness: float) -> tuple[np.ndarray, np.ndarray]:
    """Wins (0 or 1) of conversations of so many samples, and the conversation of each."""
    if likeness == 0:
        own = np.full(len(n), truth)
    elif likeness == 1:
        own = (random.random(len(n)) < truth).astype(float)
    else:
        own = random.beta(truth * (1 / likeness - 1), (1 - truth) * (1 / likeness - 1), len(n))
    return (random.random(n.sum()) < np.repeat(own, n)).astype(float), np.repeat(np.arange(len(n)), n)


def agreements(draws: int, seed: int) -> None:
    """How often alpha's interval holds what infinitely many samples would give; two reviewers, three answers."""
    random = np.random.default_rng(seed)
    truths = {care: nominal_alpha(two_reviewers(random, 200_000, care)) for care in CARE}
    print(f"\nShare of {draws} reviews whose interval of alpha (nominal, three values) holds the true alpha.")
    print("| Shared samples | " + " | ".join(f"true {truth:.2f}" for truth in truths.values()) + " |")
    print("|" + "---|" * (1 + len(CARE)))
    for shared in (5, 10, 20, 30):
        cells = []
        for care, truth in truths.items():
            said = [two_reviewers(random, shared, care).tolist() for _ in range(draws)]
            found = [alpha(one, range(shared), 3, "nominal", seed) for one in said]
            held = [one["low"] <= truth <= one["high"] for one in found if one["alpha"] is not None]
            cells.append(f"{np.mean(held):.1%}")
        print(f"| {shared} | " + " | ".join(cells) + " |", flush=True)


def two_reviewers(random: np.random.Generator, shared: int, care: float) -> np.ndarray:
    """What two say of so many samples, (samples, 2): with the chance `care` what is so, else anything."""
    so = random.choice(3, shared, p=[0.3, 0.15, 0.55])
    return np.stack([np.where(random.random(shared) < care, so, random.choice(3, shared)) for _ in range(2)], 1)


def nominal_alpha(said: np.ndarray) -> float:
    """Alpha of two reviewers without gaps: 1 less observed over expected disagreement."""
    counts = np.bincount(said.ravel(), minlength=3)
    n = int(counts.sum())
    return float(1 - np.mean(said[:, 0] != said[:, 1]) / (1 - (counts * (counts - 1)).sum() / (n * (n - 1))))


if __name__ == "__main__":
    main()
