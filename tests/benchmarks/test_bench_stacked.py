"""One step of all pairs by ape_stacked, as a ratio to ape's steps of the same pairs; rows come from banks on disk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.ape import Ape
from baselines.stacked import ApeStacked
from harness.method import Batch, Pair, Problem
from harness.sweep.loading import load_sweep
from harness.sweep.resolve import ResolvedSweep
from tests.benchmarks.clock import median_seconds
from tests.problems import problem_of

pytestmark = pytest.mark.bench

WORLDS = {"small": ([64] * 6, [48] * 4, 64), "quickstart": ([1280, 1280, 1280, 512, 768], [384, 384, 256, 50], 128)}
"""Name -> (image dims, text dims, batch)."""
ROWS = 1200

SWEEP = """
name: bench
data: {{kind: precomputed, image: {images}, text: {texts}}}
methods: {{ape: {{epochs: 1, batch_size: {batch}}}}}
"""


def _world(folder: Path, name: str) -> tuple[Callable[[tuple[Pair, ...]], Problem], tuple[Pair, ...], int]:
    images, texts, batch = WORLDS[name]
    rng = np.random.default_rng(0)
    for side, dims in (("i", images), ("t", texts)):
        for number, dim in enumerate(dims):
            np.save(folder / f"{side}{number}.npy", rng.standard_normal((ROWS, dim), dtype=np.float32))
    sweep = folder / "bench.yaml"
    named = {side: {f"{side}{n}": f"{side}{n}.npy" for n in range(len(d))} for side, d in (("i", images), ("t", texts))}
    sweep.write_text(SWEEP.format(images=named["i"], texts=named["t"], batch=batch))
    resolved = ResolvedSweep(load_sweep(sweep, overrides=[f"storage={folder}"]))
    resolved.extraction.missing(list(resolved.banks.values()))

    def problem(pairs: tuple[Pair, ...]) -> Problem:
        return problem_of(resolved.sizes(pairs), resolved.open(pairs, "train"), resolved.open(pairs, "validation"))

    return problem, resolved.pairs, batch


def _stepper(method: Ape | ApeStacked, problem: Problem, batches: Iterator[Batch]) -> Callable[[], None]:
    """One whole training step: gather, forward, backward, clip, AdamW."""
    trainee = method.trainee(problem, 0)
    optimizer = torch.optim.AdamW(trainee.groups(1e-3), fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        trainee.backward(method, problem.device, problem.pairs, next(batches))
        trainee.clip(1.0)
        optimizer.step()

    return step


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("world", WORLDS)
def test_step_of_all_pairs(benchmark: Any, tmp_path: Path, world: str, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        problem, pairs, batch = _world(tmp_path, world)
        given = problem(pairs)
        stacked = _stepper(ApeStacked(batch_size=batch), given, given.batches(batch, 0))
        alone = [_stepper(Ape(batch_size=batch), one, one.batches(batch, 0)) for one in (problem((p,)) for p in pairs)]
        ape = sum(map(median_seconds, alone))
        benchmark.extra_info["speed_up_over_ape"] = ape / median_seconds(stacked)
        benchmark(stacked)
    finally:
        torch.set_num_threads(before)
