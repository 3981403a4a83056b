"""Under `pytest -n` each process has a core of its own, set here before anything counts cores to start threads.

Native threads that wait for one another by spinning slow two processes on the same cores down five- to tenfold.
"""

import os

if (worker := os.environ.get("PYTEST_XDIST_WORKER", "")) and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
