"""How long something takes, for ratios to what a benchmark measures."""

import time
from collections.abc import Callable


def median_seconds(run: Callable[[], object], rounds: int = 7) -> float:
    """Median of several runs, after one that does not count."""
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return sorted(times)[rounds // 2]
