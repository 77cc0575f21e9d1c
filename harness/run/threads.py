"""The number of threads that a cell computes with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def exact_threads(cpus: float) -> Iterator[None]:
    """Compute with exactly this many threads, so that numbers do not depend on where a cell runs."""
    threads, before = max(1, int(cpus)), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)
