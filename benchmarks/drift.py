"""How often the drift check cries wolf, and how soon it finds a fall: python -m benchmarks.drift

Days are simulated from real answers (`drift_worlds.py`). Every run begins with a release of its own, because what is
known of a release is itself a sample and the same error goes into all its days; no answer of a day is one of the
release's draws. Falls start on the first day with all sums at zero, which is the slowest start there is. Prints tables
and writes docs/images/drift-*.svg.

    python -m benchmarks.drift --releases 20 --days 20     # a minute or two, wider intervals
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks import drift_plots
from benchmarks.drift_worlds import Pool, Sizes, day, load, release
from joshi.evaluation.measure import mean_interval, rate, upper_bound
from joshi.monitoring.drift.judge import Settings, judge_day
from joshi.monitoring.drift.sample import (
    DRAWS,
    PROBES,
    PRODUCTION,
    RELEASE_DRAWS,
    RELEASE_PRODUCTION,
    minimum_sample,
)
from joshi.monitoring.drift.verdict import STREAMS, DayVerdict

DEFAULT = Sizes(PROBES, DRAWS, RELEASE_DRAWS, PRODUCTION, RELEASE_PRODUCTION)
WORLDS = {
    "rules": "each rule is broken more often, texts stay",
    "answers": "some answers break every rule, texts stay",
    "base": "some answers are the untuned base's",
}
FALLS = (0.05, 0.10, 0.20)
PATIENCE = 15  # days after which a fall counts as not found
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--releases", type=int, default=40, help="simulated releases, for each line of the tables")
    parser.add_argument("--days", type=int, default=30, help="days without drift after each release")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the plots")
    chosen = parser.parse_args()
    started = time.monotonic()
    print(
        f"python -m benchmarks.drift --releases {chosen.releases} --days {chosen.days} --seed {chosen.seed}\n"
        f"{DEFAULT.probes} probes, {DEFAULT.draws} answers each a day and {DEFAULT.release_draws} at release; "
        f"{DEFAULT.production} production answers a day, {DEFAULT.release_production} known of the release"
    )
    pool = load()
    rng = np.random.default_rng(chosen.seed)
    known, _ = release(pool, DEFAULT, rng)
    least = minimum_sample("probes", known.probes, DRAWS, Settings().threshold) if known.probes else None
    few = minimum_sample("production", known.production, 1, Settings().threshold) if known.production else None
    print(f"mean score {pool.mean:.3f}; least sample of one release: {least} probes, {few} production answers\n")

    quiet = [course(pool, DEFAULT, [0.0] * chosen.days, "rules", rng) for _ in range(chosen.releases)]
    false_alarms("no drift", quiet)
    # A little more than the least, which differs from release to release.
    small = replace(DEFAULT, probes=(least or PROBES) + 2, production=round(1.2 * (few or PRODUCTION)))
    lesser = [course(pool, small, [0.0] * chosen.days, "rules", rng) for _ in range(chosen.releases // 2)]
    false_alarms(f"no drift, {small.probes} probes, {small.production} production answers", lesser)
    restless = [course(pool, DEFAULT, [0.0] * chosen.days, "restless", rng) for _ in range(chosen.releases // 2)]
    false_alarms("no drift, other suppliers every day", restless)

    print(f"\n{'fall, found on day':66}   1      2 (95%)           3    median")
    found: dict[tuple[str, float], list[int]] = {}
    for world, told in WORLDS.items():
        for fall in FALLS:
            found[world, fall] = [first_alarm(pool, DEFAULT, fall, world, rng) for _ in range(chosen.releases)]
            detection(f"{fall:.0%}, {told}", found[world, fall])
    for world, told in WORLDS.items():
        days = [first_alarm(pool, replace(small, production=0), 0.10, world, rng) for _ in range(chosen.releases)]
        detection(f"10%, {told}; {small.probes} probes alone", days)
    creeping = [course(pool, DEFAULT, [0.01 * n for n in range(1, 21)], "rules", rng, stop=True) for _ in quiet]
    ends = [len(run) for run in creeping if run[-1].verdict == "drift"]
    told = f"found in {len(ends)} of {len(creeping)}, median day {np.median(ends):.0f}"
    print(f"\ncreeping, one point more each day: {told}")
    written = drift_plots.write(quiet, found, chosen.images)
    print(f"\n{', '.join(path.name for path in written)} in {chosen.images}; {time.monotonic() - started:.0f} s")


def course(
    pool: Pool, sizes: Sizes, falls: Sequence[float], world: str, rng: np.random.Generator, stop: bool = False
) -> list[DayVerdict]:
    """One release and its days; `stop`: up to the first alarm."""
    known, probes = release(pool, sizes, rng)
    history: list[DayVerdict] = []
    for number, fall in enumerate(falls):
        today = day(number, pool, sizes, probes, fall, world, rng)
        history.append(judge_day(known, today, history, Settings(seed=int(rng.integers(2**31)))))
        if stop and history[-1].verdict == "drift":
            break
    return history


def first_alarm(pool: Pool, sizes: Sizes, fall: float, world: str, rng: np.random.Generator) -> int:
    """The day of the first alarm, counted from 1; PATIENCE + 1 if there was none."""
    run = course(pool, sizes, [fall] * PATIENCE, world, rng, stop=True)
    return len(run) if run[-1].verdict == "drift" else PATIENCE + 1


def false_alarms(told: str, runs: Sequence[Sequence[DayVerdict]]) -> None:
    alarms = mean_interval([[float(one.verdict == "drift") for one in run] for run in runs], seed=0)
    standing = mean_interval([[float(_least(one) <= Settings().level) for one in run] for run in runs], seed=0)
    naive = np.mean(
        [min(test.p for test in one.tests if test.adjusted is not None) <= 0.05 for run in runs for one in run]
    )
    told_only = np.mean([_told(one) <= 0.01 for run in runs for one in run])
    begun = sum(_begins(run) for run in runs)
    by = {
        s: np.mean([next(x for x in one.sums if x.stream == s).alarm for run in runs for one in run]) for s in STREAMS
    }
    days, touched = sum(map(len, runs)), sum(any(one.verdict == "drift" for one in run) for run in runs)
    most = max(alarms["high"], upper_bound(round(alarms["mean"] * days), days))  # a bootstrap of nothing is nothing
    print(
        f"{told}: {days} days of {len(runs)} releases\n"
        f"  days with an alarm, of 100:       {100 * alarms['mean']:5.2f} ({100 * alarms['low']:.2f} to "
        f"{100 * most:.2f}); alarms that begin: {100 * begun / days:.2f}; "
        f"by sum: {', '.join(f'{s} {100 * share:.2f}' for s, share in by.items())}\n"
        f"  releases with an alarm at all:    {touched} (at most {upper_bound(touched, len(runs)):.0%})\n"
        f"  days with a test that stands out: {100 * standing['mean']:5.1f} corrected ({100 * standing['low']:.1f} to "
        f"{100 * standing['high']:.1f}), {100 * naive:.0f} uncorrected\n"
        f"  days on which production's lengths or embeddings, told only, differ at 1%: {100 * told_only:.0f}"
    )


def _least(one: DayVerdict) -> float:
    return min(test.adjusted for test in one.tests if test.adjusted is not None)


def _told(one: DayVerdict) -> float:
    """The smallest p of the tests that would decide if messages were the same every day."""
    return min(
        (test.p for test in one.tests if test.source == "production" and test.name in ("tokens", "meaning")),
        default=1.0,
    )


def _begins(run: Sequence[DayVerdict]) -> int:
    words = ["ok", *(one.verdict for one in run)]
    return sum(now == "drift" != before for before, now in pairwise(words))


def detection(told: str, days: Sequence[int]) -> None:
    n = len(days)
    one, two, three = (rate(sum(day <= limit for day in days), n) for limit in (1, 2, 3))
    median = float(np.median(days))
    print(
        f"{told:66} {one['rate']:4.0%}  {two['rate']:4.0%} ({two['low']:.0%} to {two['high']:.0%})".ljust(92)
        + f"{three['rate']:4.0%}  {'more than 15' if median > PATIENCE else f'{median:.0f}'}"
    )


if __name__ == "__main__":
    main()
