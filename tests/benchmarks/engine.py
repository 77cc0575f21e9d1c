"""One table of training steps: their time, and how much of the machine's own matrix rate they reach.

``make bench`` ends with it; alone: ``.venv/bin/python -m tests.benchmarks.engine``. A step is the one that training
takes (``harness.training.one_rate.Training.step``): batches read, forward, backward, clipping, AdamW, the finite check.
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np
import torch

from baselines.ape import Ape
from baselines.stacked import ApeStacked
from harness.contract.ledger import Ledger
from harness.method import Budget, Pair, Problem, Split
from harness.training.counting import MIXTURES
from harness.training.course import Course
from harness.training.one_rate import Training
from harness.training.recipe import Recipe
from harness.training.trainee import Trainee
from hyma.encoder_layers import EncoderLayers
from hyma.method import Hyma
from tests.problems import numbered_sizes, problem_of, tables

ROWS = 4096
WARM_UP = 2 + MIXTURES
"""Steps before the first that is measured: a joint method's first ones are counted, which takes longer."""
MATRIX_PHASES = ("connector", "logits", "hypernet")
"""What matrix products do. AdamW is element-wise: its time is in a step, its FLOPs are not in the rate."""


@dataclass(frozen=True)
class World:
    """Shapes of a benchmark.

    Attributes:
        image_dims: One for each image encoder.
        text_dims: The same for text encoders.
        batch: Samples of a step.
    """

    image_dims: Sequence[int]
    text_dims: Sequence[int]
    batch: int


WORLDS: Mapping[str, World] = {
    "27 pairs, d = 768, B = 512": World([768] * 9, [768] * 3, 512),
    "the quickstart's 20 pairs, B = 128": World([1280, 1280, 1280, 512, 768], [384, 384, 256, 50], 128),
}


@dataclass(frozen=True)
class Stepper:
    """One method, ready to step.

    Attributes:
        step: One step: of all that the method trains at once, or, of ``ape``, one of each pair. Returns the FLOPs of
            its matrix products, as booked.
        pairs: Pairs that take part in it.
    """

    step: Callable[[], float]
    pairs: int


@dataclass(frozen=True)
class Row:
    """What was measured of one method.

    Attributes:
        seconds: Of a step (median).
        flops: Of its matrix products (mean).
        rate: Matrix FLOPs per second, over those of ``torch.mm`` just before and after (median of the ratios).
        pair_samples: Pairs x samples per second.
    """

    seconds: float
    flops: float
    rate: float
    pair_samples: float


def problem_in(world: World, device: torch.device) -> Problem:
    """Random embeddings of these shapes."""
    sizes = numbered_sizes(world.image_dims, world.text_dims, train_images=ROWS)
    rng = np.random.default_rng(0)
    images, texts = (
        tables({name: rng.standard_normal((ROWS, dim), dtype=np.float32) for name, dim in dims.items()})
        for dims in (sizes.image_dims, sizes.text_dims)
    )
    rows = np.arange(ROWS)
    split = Split(image_banks=images, text_banks=texts, image_rows=rows, caption_rows=rows, caption_image=rows)
    return replace(problem_of(sizes, split), device=device)


def training_of(problem: Problem, recipe: Recipe, trainee: Trainee) -> Stepper:
    """Steps of one training, as ``train`` takes them."""
    own = replace(problem, ledger=Ledger())
    course = Course(own, Budget(epochs=1000), recipe, trainee)
    training = Training(own, course, recipe, trainee, recipe.rates[0])
    feed = zip(trainee.pair_sampler, own.batches(recipe.batch_size, 0), strict=False)
    numbers = itertools.count(1)

    def booked() -> float:
        return sum(own.ledger.flops[phase] for phase in MATRIX_PHASES)

    def step() -> float:
        before, (pairs, batch) = booked(), next(feed)
        assert training.step(next(numbers), 0.5, pairs, batch), "a benchmark must not diverge"
        return booked() - before

    return Stepper(step, trainee.pairs_per_step)


def steppers(problem: Problem, batch: int) -> dict[str, Callable[[], Stepper]]:
    """Method -> what makes its stepper; ``ape`` first, the loop over pairs that all are compared with."""

    def ape() -> Stepper:
        def of(pair: Pair) -> Stepper:
            one = replace(problem, sizes=replace(problem.sizes, pairs=(pair,)))
            recipe = Ape(batch_size=batch)
            return training_of(one, recipe, recipe.trainee(one, 0))

        each = [of(pair) for pair in problem.pairs]

        return Stepper(lambda: sum(own.step() for own in each), len(each))

    def of(recipe: ApeStacked | Hyma | EncoderLayers) -> Callable[[], Stepper]:
        return lambda: training_of(problem, recipe, recipe.trainee(problem, 0))

    return {
        "ape": ape,
        "ape_stacked": of(ApeStacked(batch_size=batch)),
        "hyma": of(Hyma(batch_size=batch)),
        "encoder_layers": of(EncoderLayers(batch_size=batch)),
    }


def timed(run: Callable[[], float], device: torch.device) -> tuple[float, float]:
    """(seconds until the device has done it, what it returned) of a run."""
    start = time.perf_counter()
    result = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, result


class MatrixRate:
    """The machine's own float32 matrix rate: ``torch.mm`` at the size of one pair's connector.

    Args:
        batch: Rows.
        dim: Of both sides.
        device: Where.
    """

    def __init__(self, batch: int, dim: int, device: torch.device) -> None:
        self._left, self._right = torch.randn(batch, dim, device=device), torch.randn(dim, dim, device=device)
        self._out = torch.empty(batch, dim, device=device)
        self._flops, self._device = 2.0 * batch * dim * dim, device

    def measured(self, seconds: float) -> float:
        """FLOPs per second, over about so many seconds."""
        once, _ = timed(self._multiply, self._device)
        times = max(1, round(seconds / max(once, 1e-6)))
        spent, flops = timed(lambda: sum(self._multiply() for _ in range(times)), self._device)
        return flops / spent

    def _multiply(self) -> float:
        torch.mm(self._left, self._right, out=self._out)
        return self._flops


def measured(
    made: Mapping[str, Stepper], batch: int, rate: MatrixRate, device: torch.device, rounds: int
) -> dict[str, Row]:
    """Steps of all methods and matrix products in turns, so that what else the machine does touches all alike."""
    for stepper in made.values():
        for _ in range(WARM_UP):
            stepper.step()
    seconds, done, shares = ({name: [] for name in made} for _ in range(3))
    for _ in range(rounds):
        for name, stepper in made.items():
            spent, flops = timed(stepper.step, device)
            seconds[name].append(spent)
            done[name].append(flops)
            shares[name].append(flops / spent / rate.measured(spent))
    usual = {name: median(own) for name, own in seconds.items()}
    return {
        name: Row(usual[name], fmean(done[name]), median(shares[name]), stepper.pairs * batch / usual[name])
        for name, stepper in made.items()
    }


def lines_of(rows: Mapping[str, Row]) -> list[str]:
    """The table's lines; the first row is what pair-samples per second are compared with."""
    shown = f"{'method':<16}{'step':>12}{'matrix FLOPs':>15}{'of own rate':>13}{'pair-samples/s':>16}{'x loop':>8}"
    found, loop = [shown], next(iter(rows.values())).pair_samples
    for name, row in rows.items():
        cells = f"{row.seconds * 1e3:>9.1f} ms{row.flops / 1e9:>13.2f} G{row.rate:>13.0%}{row.pair_samples:>16,.0f}"
        found.append(f"{name:<16}{cells}{row.pair_samples / loop:>8.2f}")
    return found


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="steps that are measured of each method")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    how = f"{asked.rounds} steps each, in turns with torch.mm"
    out = [f"training steps on {device.type}, {asked.threads} threads, float32: {how}"]
    for name, world in WORLDS.items():
        problem = problem_in(world, device)
        rate = MatrixRate(world.batch, max(world.image_dims), device)
        made = {method: make() for method, make in steppers(problem, world.batch).items()}
        rows = measured(made, world.batch, rate, device, asked.rounds)
        out += ["", name, *lines_of(rows)]
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
