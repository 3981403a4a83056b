"""How the cost of a training step grows: with 1, 4 and 16 times the samples, and from 256 to 4,096 tokens a sample.

python -m benchmarks.growth --plot docs/images/growth.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.training import Figures, run

SAMPLES = (2, 8, 32)  # of 630 tokens
LENGTHS = (256, 512, 1024, 2048, 4096)  # of two samples


def measure(arguments: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """(trie tokens, seconds) of each run."""
    found: dict[str, list[Figures]] = {
        "samples": [run("joshi", "sft", n, arguments) for n in SAMPLES],
        "length": [run("joshi", "sft", 2, arguments, length=length) for length in LENGTHS],
    }
    return {name: [(one["trie_tokens"], one["seconds"]) for one in runs] for name, runs in found.items()}


def plot(points: dict[str, list[tuple[float, float]]], path: Path) -> None:
    figure = Figure(figsize=(9, 3.4), dpi=120, layout="constrained")
    titles = {"samples": f"{SAMPLES[0]} to {SAMPLES[-1]} samples of 630 tokens",
              "length": f"two samples of {LENGTHS[0]} to {LENGTHS[-1]:,} tokens"}  # fmt: skip
    for axes, (name, found) in zip(figure.subplots(1, 2), points.items(), strict=True):
        tokens, seconds = zip(*found, strict=True)
        axes.loglog(tokens, seconds, marker="o", label="measured")
        axes.loglog(tokens, [seconds[0] * n / tokens[0] for n in tokens], "--", color="grey", label="linear")
        for axis, values, text in ((axes.xaxis, tokens, "{:,.0f}"), (axes.yaxis, seconds, "{:.1f}")):
            axis.set_ticks(values, [text.format(value) for value in values])
            axis.set_minor_locator(NullLocator())
        axes.set_title(titles[name], fontsize=10)
        axes.set_xlabel("trie tokens")
        axes.set_ylabel("seconds a step")
        axes.legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, help="write the picture here")
    parser.add_argument("--json", action="store_true", help="print the ratios as JSON")
    arguments = parser.parse_args(namespace=argparse.Namespace(casino=None))
    points = measure(arguments)
    if arguments.plot:
        plot(points, arguments.plot)
    # Seconds a trie token at the largest over those at the smallest: 1 is linear.
    ratios = {
        f"{name}_cost_a_token": round(found[-1][1] / found[-1][0] / (found[0][1] / found[0][0]), 3)
        for name, found in points.items()
    }
    print(
        json.dumps(ratios) if arguments.json else "\n".join(f"{key:32} {value:8.2f}" for key, value in ratios.items())
    )


if __name__ == "__main__":
    main()
