"""What the training-free scores share: a seeded sample of matched rows, one view per encoder, a permutation null.

A score needs no connector. It looks at the same sample of training images (one caption each) through two encoders
and says how alike, or how predictable from each other, the two views are. Larger is better, whatever the sign of the
selection metric.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from baselines.linalg import sides_of
from harness.contract.budget import Budget
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.seeding import stream
from harness.errors import HarnessError

Rows = Annotated[int, Field(ge=8)]
V = TypeVar("V")
"""What an encoder's sample is turned into, once for all its pairs."""


@dataclass(frozen=True, kw_only=True)
class SampleScore(ABC, Generic[V]):
    """A score of two views of the same sample.

    Attributes:
        rows: Training images in the sample (all, where there are fewer).
        null: Random row pairings that tell what the score is without any match; 0: no calibration.
        calibration: ``subtract`` the null's mean, or ``standardise`` by its mean and standard deviation.
    """

    rows: Rows = 2048
    null: Annotated[int, Field(ge=0)] = 0
    calibration: Literal["subtract", "standardise"] = "subtract"

    kind: ClassVar[Kind] = "score"
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.calibration == "standardise" and self.null == 1:
            raise ValueError("standardise needs a null of at least 2 pairings")

    @abstractmethod
    def view(self, x: Float[Tensor, "rows dim"], *, is_target: bool) -> V:
        """What is kept of one encoder's sample; float64 in. ``is_target``: the side that connectors map into."""

    @abstractmethod
    def reorder(self, view: V, order: Int64[Tensor, " rows"]) -> V:
        """The view of the same rows in another order."""

    @abstractmethod
    def value(self, source: V, target: V) -> float:
        """The score, larger is better."""

    @abstractmethod
    def view_flops(self, rows: int, dim: int, *, is_target: bool) -> float:
        """Closed form of ``view``."""

    @abstractmethod
    def value_flops(self, rows: int, source_dim: int, target_dim: int) -> float:
        """Closed form of one ``value``."""

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Score all pairs on one sample."""
        sizes, rows = problem.sizes, self._rows(problem.sizes)
        batch = next(problem.train.batches(rows, seed))
        rng = stream(seed, "null")
        orders = [torch.from_numpy(rng.permutation(rows)).to(problem.device) for _ in range(self.null)]

        def read(encoder: str, *, is_target: bool) -> V:
            is_image = is_target == (sizes.direction == "text_to_image")
            train = problem.train
            x = train.images(encoder, batch.images) if is_image else train.texts(encoder, batch.captions)
            return self.view(x.to(problem.device, torch.float64), is_target=is_target)

        problem.ledger.add("score", self._flops(sizes))
        scores: dict[Pair, float] = {}
        sources = {encoder: read(encoder, is_target=False) for encoder in sides_of(sizes)[0]}
        for encoder in sides_of(sizes)[1]:
            target = read(encoder, is_target=True)  # one at a time: there are more of them
            shuffled = [self.reorder(target, order) for order in orders]
            for pair in sizes.pairs:
                if sizes.sides(pair)[1] == encoder:
                    source = sources[sizes.sides(pair)[0]]
                    by_chance = [self.value(source, other) for other in shuffled]
                    scores[pair] = self._calibrated(self.value(source, target), by_chance)
                    progress(len(scores), len(sizes.pairs))
        return Fit(scores={pair: scores[pair] for pair in sizes.pairs}, ledger=problem.ledger, samples_per_pair=rows)

    def _calibrated(self, value: float, by_chance: list[float]) -> float:
        if not by_chance:
            return value
        above = value - float(np.mean(by_chance))
        if self.calibration == "subtract":
            return above
        spread = float(np.std(by_chance, ddof=1))
        return above / spread if spread > 0 else math.copysign(0.0, above)

    def _rows(self, sizes: Sizes) -> int:
        rows = min(self.rows, sizes.train_images)
        if rows < 8:
            raise HarnessError(f"{rows} training images are too few for a score", fix="give the training split rows")
        return rows

    def _flops(self, sizes: Sizes) -> float:
        rows, (sources, targets) = self._rows(sizes), sides_of(sizes)
        views = sum(self.view_flops(rows, dim, is_target=False) for dim in sources.values())
        views += sum(self.view_flops(rows, dim, is_target=True) for dim in targets.values())
        shapes = [sizes.dims(pair) for pair in sizes.pairs]
        return views + (1 + self.null) * sum(self.value_flops(rows, s.in_dim, s.out_dim) for s in shapes)

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of the spending: what ``fit`` books."""
        return Estimate({"score": self._flops(sizes)})
