"""How FLOPs and seconds of methods grow with rows and with pairs, and with which exponents.

``.venv/bin/python -m tests.benchmarks.scaling`` prints two tables; ``docs/scaling.md`` quotes them. The world is not
linear-Gaussian: factors with heavy tails, products of factors, bent coordinates, two captions for each image.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from baselines.spectral import Spectral, SpectralSample
from baselines.stacked import ApeStacked
from baselines.winner import Winner
from harness.data.load import load_dataset
from harness.method import Budget, Method
from tests.problems import Made, matched

DIM, VALIDATION = 64, 500
ROWS, PAIRS_PER_SIDE = (2_000, 20_000, 200_000), (2, 6, 15, 30)
"""Training images with 3 x 3 encoders; encoders on each side with 2,000 images."""

METHODS: Mapping[str, tuple[Method, Budget]] = {
    "spectral": (Spectral(), Budget(epochs=1)),
    "spectral, rows: all": (Spectral(rows="all"), Budget(epochs=1)),
    "spectral_sample": (SpectralSample(), Budget(epochs=1)),
    "winner": (Winner(batch_size=256), Budget(epochs=1)),
    "ape_stacked, 1 epoch": (ApeStacked(batch_size=256), Budget(epochs=1)),
}


@dataclass(frozen=True)
class Cost:
    """What one fit cost.

    Attributes:
        flops: The method's total, as booked.
        seconds: Of ``fit``.
    """

    flops: float
    seconds: float


@dataclass(frozen=True)
class Encoders:
    """Rows of every encoder of one world, drawn once; problems are its first rows and encoders."""

    images: Mapping[str, np.ndarray]
    texts: Mapping[str, np.ndarray]
    owner: np.ndarray

    def problem(self, per_side: int, train_images: int) -> Made:
        """So many encoders on each side, and so many training images before those of the validation."""
        rows = train_images + VALIDATION
        kept = self.owner < rows
        images = {name: own[:rows] for name, own in list(self.images.items())[:per_side]}
        texts = {name: own[kept] for name, own in list(self.texts.items())[:per_side]}
        return matched(images, texts, owner=self.owner[kept], metric="text_to_image_r5", validation_images=VALIDATION)


def world(per_side: int, train_images: int) -> Encoders:
    """A world that is not linear-Gaussian."""
    rows = train_images + VALIDATION
    dataset = load_dataset(
        {"kind": "synthetic", "rows": rows, "image_encoders": per_side, "text_encoders": per_side}
        | {"image_dims": [DIM], "text_dims": [DIM], "captions_per_image": 2, "tails": 5.0, "products": 0.25}
    )
    owner = dataset.index().caption_image
    images = {f"image{n:02}": dataset.embeddings(f"image{n:02}", "image", 0, rows) for n in range(per_side)}
    texts = {f"text{n:02}": dataset.embeddings(f"text{n:02}", "text", 0, len(owner)) for n in range(per_side)}
    return Encoders(images, texts, owner)


def cost_of(method: Method, budget: Budget, made: Made) -> Cost:
    """One fit, on an empty ledger."""
    fresh = made.fresh()
    start = time.perf_counter()
    fit = fresh.fit(method, budget=budget)
    return Cost(fit.ledger.total, time.perf_counter() - start)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of log values over log sizes by least squares: 1 where a value grows like the size."""
    slope = np.polyfit(np.log(sizes), np.log(values), 1)[0]
    return round(float(slope), 6) + 0.0  # no minus zero


def lines_of(sizes: Sequence[int], costs: Mapping[str, Sequence[Cost]], unit: str) -> list[str]:
    """A Markdown table: each method's FLOPs and seconds at each size, and both exponents."""
    heads = [f"{size:,} {unit}" for size in sizes]
    found = [f"| method | {' | '.join(heads)} | FLOPs grow like | seconds like |", "|---" * (len(sizes) + 3) + "|"]
    for name, own in costs.items():
        cells = [f"{cost.flops / 1e9:.2f} GFLOP, {cost.seconds:.2f} s" for cost in own]
        slopes = [exponent(sizes, [c.flops for c in own]), exponent(sizes, [c.seconds for c in own])]
        found.append(f"| {name} | {' | '.join(cells)} | {unit}^{slopes[0]:.2f} | {unit}^{slopes[1]:.2f} |")
    return found


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    rows_world = world(3, max(ROWS))
    by_rows = [rows_world.problem(3, rows) for rows in ROWS]
    pairs_world = world(max(PAIRS_PER_SIDE), ROWS[0])
    by_pairs = [pairs_world.problem(side, ROWS[0]) for side in PAIRS_PER_SIDE]
    for unit, sizes, problems in (
        ("rows", ROWS, by_rows),
        ("pairs", [side * side for side in PAIRS_PER_SIDE], by_pairs),
    ):
        costs: dict[str, list[Cost]] = {}
        for name, (method, budget) in METHODS.items():
            cost_of(method, budget, problems[0])  # the first call of anything loads libraries
            costs[name] = [cost_of(method, budget, made) for made in problems]
        sys.stdout.write("\n".join(lines_of(sizes, costs, unit)) + "\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
