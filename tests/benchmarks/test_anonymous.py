"""Anonymous memory is what a process allocates, not what it maps."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.anonymous import PeakMemory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")

SIZE = 300_000_000


def test_the_peak_holds_what_was_allocated_and_freed_again() -> None:
    with PeakMemory() as idle:
        pass
    with PeakMemory() as memory:
        held = np.ones(SIZE, dtype=np.uint8)
        assert held.all()
        del held
    assert memory.peak > idle.peak + 0.9 * SIZE


def test_pages_of_a_mapped_file_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "rows.npy"
    mapped = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=(SIZE,))
    mapped[:] = 1
    mapped.flush()
    read = np.load(file, mmap_mode="r")
    with PeakMemory() as idle:
        pass
    with PeakMemory() as memory:
        total = sum(int(read[start : start + 1_000_000].sum()) for start in range(0, SIZE, 1_000_000))
    assert total == SIZE
    assert memory.peak < idle.peak + 0.3 * SIZE
