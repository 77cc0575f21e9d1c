"""A bank pair as large as the paper's data, 558,128 float16 rows, goes through ``spectral`` in bounded memory."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.anonymous import peak_of_sweep

pytestmark = pytest.mark.bench

ROWS, DIMS = 558_128, {"image": 768, "text": 384}
LATENT = 32
LIMIT = 3 * 2**30
"""Bytes of anonymous memory."""

SWEEP = """
name: large
data:
  kind: precomputed
  image: {image: image.npy}
  text: {text: text.npy}
  split: {train: 0.98, validation: 0.01, test: 0.01, seed: 0}
bank: {dtype: float16}
methods:
  spectral: {rows: ROWS_OF_THE_METHOD, resources: {cpu: CPUS}}
storage: .
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Both sides of one world: few shared factors in random directions, and noise; 2.6 GB with the banks made of them.

    One block of noise is used again and again, since drawing it is what takes the time.
    """
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    for side, dim in DIMS.items():
        out = np.lib.format.open_memmap(folder / f"{side}.npy", mode="w+", dtype=np.float16, shape=(ROWS, dim))
        directions = rng.standard_normal((LATENT, dim), dtype=np.float32)
        noise = 2 * rng.standard_normal((8192, dim), dtype=np.float32)
        for start in range(0, ROWS, 8192):
            rows = min(8192, ROWS - start)
            factors = np.random.default_rng([1, start]).standard_normal((rows, LATENT), dtype=np.float32)
            out[start : start + rows] = (factors @ directions + noise[:rows]) / np.sqrt(dim)
        out.flush()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rows", [4096, "all"])
def test_anonymous_memory_of_558128_rows(benchmark: Any, folder: Path, rows: int | str) -> None:
    sweep = folder / f"large-{rows}.yaml"
    text = SWEEP.replace("ROWS_OF_THE_METHOD", str(rows)).replace("CPUS", "1").replace("large", f"large-{rows}")
    sweep.write_text(text)
    peaks: list[int] = []
    benchmark.pedantic(lambda: peaks.append(peak_of_sweep(sweep)), rounds=1)
    benchmark.extra_info["peak_rss_anon_GB"] = peaks[0] / 1e9
    assert peaks[0] < LIMIT
