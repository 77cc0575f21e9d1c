"""The common base of methods that train one hypernetwork for all pairs; a variant is a subclass with other defaults."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from harness.contract.budget import Budget
from harness.contract.connector import Connector
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.split import Batch
from harness.training.counting import estimate_training
from harness.training.loop import train
from harness.training.recipe import Rates, Recipe
from harness.training.trainee import PairByPair
from hyma.conditioning import Means
from hyma.exposure import SAMPLERS, check_per_step
from hyma.hypernetwork import Architecture, Hypernetwork
from hyma.initialise import Init
from hyma.scaling import ScalingName

Size = Annotated[int, Field(gt=0)]
ROWS_AT_ONCE = 8192
"""Rows of a bank read at once for its mean."""


@dataclass(frozen=True, kw_only=True)
class Joint(Recipe):
    """One hypernetwork for all pairs, trained on model mini-batches.

    Attributes:
        pairs_per_step: Pairs in one step (the paper's B_m).
        sampling: ``balanced`` (every pair's updates differ by at most one) or ``published`` (cyclic, one dimension).
        shuffle: Whether every epoch's images come in a new order; the published code does not shuffle.
        conditioning: See ``hyma.hypernetwork.Architecture``, as for the following.
        decoder: See there.
        condition_dim: Size of a pair's condition.
        hidden: Sizes of the decoder's hidden layers.
        init: ``hyperfan_in`` or ``published``.
        scaling: ``fan_in`` or ``published``.
    """

    lr: Rates = 4e-3
    pairs_per_step: Size = 4
    sampling: str = "balanced"
    shuffle: bool = True
    conditioning: str = "pair"
    decoder: str = "mlp"
    condition_dim: Size = 32
    hidden: tuple[Size, ...] = (64, 16)
    init: Init = "hyperfan_in"
    scaling: ScalingName = "fan_in"

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if not self.hidden:
            raise ValueError("hidden must name at least one layer size")

    def architecture(self, sizes: Sizes) -> Architecture:
        """Parts of the hypernetwork for these sizes; what a variant overrides."""
        return Architecture(
            conditioning=self.conditioning,
            decoder=self.decoder,
            condition_dim=self.condition_dim,
            hidden=self.hidden,
            init=self.init,
            scaling=self.scaling,
        )

    def network(self, sizes: Sizes, seed: int) -> Hypernetwork:
        """A fresh hypernetwork.

        Raises:
            HarnessError: More pairs a step than pairs, or an unknown part.
        """
        check_per_step(sizes, self.pairs_per_step)
        return Hypernetwork(sizes, self.architecture(sizes), seed=seed)

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train all pairs' connectors together."""
        means = self._means(problem)
        return train(problem, budget, self, lambda: self.trainee(problem, seed, means), seed=seed, progress=progress)

    def trainee(self, problem: Problem, seed: int, means: Callable[[], Means] | None = None) -> PairByPair:
        """A fresh hypernetwork, as ``train`` wants it.

        Args:
            problem: What is trained on.
            seed: Of the hypernetwork and the pairs' order.
            means: Gives the means over the training banks; None: they are read where they are needed.
        """
        network = self.network(problem.sizes, seed).to(problem.device, self.dtype)
        return joint_trainee(self, problem, network, seed, means or self._means(problem))

    def _means(self, problem: Problem) -> Callable[[], Means]:
        """The means over the training banks, read at the first call, once for all learning rates."""
        return cache(lambda: bank_means(problem, self.dtype))

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of one cell's spending."""
        SAMPLERS.get(self.sampling)(sizes, self.pairs_per_step, 0)
        with torch.device("meta"):
            network = self.network(sizes, 0)
        return estimate_training(
            sizes,
            budget,
            self,
            pairs_per_step=self.pairs_per_step,
            parameters=sum(p.numel() for p in network.parameters()),
            hypernet_step=network.step_flops(self.pairs_per_step),
            generation=network.forward_flops(len(sizes.pairs)),
        )


def joint_trainee(
    method: Joint, problem: Problem, network: Hypernetwork, seed: int, means: Callable[[], Means]
) -> PairByPair:
    """What ``train`` needs to train a hypernetwork.

    A conditioning on features sees the means of the step's batch while it trains; for scoring and export it sees the
    means over the training banks, so that connectors do not depend on the last batch.

    Args:
        method: The settings.
        problem: What is trained on.
        network: What is trained.
        seed: Of the pairs' order.
        means: Gives the means over the training banks; asked only where they are needed.
    """
    frozen_means = means() if network.needs_means else None

    def from_batch(pairs: Sequence[Pair], batch: Batch) -> Mapping[Pair, Connector]:
        own = batch_means(pairs, batch, method.dtype, texts=network.condition.reads_texts)
        return network(pairs, own)

    return PairByPair(
        parameters=list(network.parameters()),
        objective=problem.objective(logit_scale=method.logit_scale, dtype=method.dtype),
        connectors=lambda pairs: network(pairs, frozen_means),
        step_connectors=from_batch if network.needs_means else None,
        pair_sampler=SAMPLERS.get(method.sampling)(problem.sizes, method.pairs_per_step, seed),
        pairs_per_step=method.pairs_per_step,
        hypernet_step=network.step_flops(method.pairs_per_step),
        generation=network.forward_flops(len(problem.pairs)),
        shuffle=method.shuffle,
    )


def batch_means(pairs: Sequence[Pair], batch: Batch, dtype: torch.dtype, *, texts: bool) -> Means:
    """Mean embedding of every image (and text) encoder of these pairs over one batch, on the device."""
    means = {image: batch.image(image).mean(0) for image in dict.fromkeys(i for i, _ in pairs)}
    if texts:
        means |= {text: batch.text(text).mean(0) for text in dict.fromkeys(t for _, t in pairs)}
    return {encoder: mean.to(dtype) for encoder, mean in means.items()}


def bank_means(problem: Problem, dtype: torch.dtype = torch.float32) -> Means:
    """Mean embedding of every encoder of the problem over its training bank, on the device."""
    means = {}
    for names, read, rows in (
        (dict.fromkeys(image for image, _ in problem.pairs), problem.train.images, len(problem.train.image_rows)),
        (dict.fromkeys(text for _, text in problem.pairs), problem.train.texts, len(problem.train.caption_rows)),
    ):
        for name in names:
            total = torch.zeros((), dtype=torch.float64)
            for start in range(0, rows, ROWS_AT_ONCE):
                at = torch.arange(start, min(start + ROWS_AT_ONCE, rows)).numpy()
                total = total + read(name, at).double().sum(0)
            means[name] = (total / rows).to(problem.device, dtype)
    return means
