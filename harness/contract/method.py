"""The Method contract, what a method may have beside it, and the registry of methods."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from harness.contract.budget import Budget
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.pairs import Kind
from harness.contract.problem import Problem, Sizes
from harness.contract.registry import Registry

Convention: TypeAlias = Literal["ours", "published"]
"""How FLOPs are counted by ``harness plan``."""

Promise: TypeAlias = Literal["selection", "winner", "all"]
"""What a method may be recommended for: which pair and in what order; that and a connector for it; every connector."""

PUBLISHED_PHASES = ("connector", "logits", "hypernet")
"""What the papers count: forward and backward matrix products of training."""


@runtime_checkable
class Method(Protocol):
    """A way to rank pairs: a frozen dataclass whose fields are its settings in the sweep file.

    What else a method may have is a Protocol of its own: ``Estimates``, ``PublishedEstimates``, ``RungEstimates``,
    ``TriesRates``, ``WithoutBudget``, ``TrainsPairsAlone``, ``Recommended``, ``ReadsParams``, ``Smokes``, and
    ``Policy`` or ``AsyncPolicy`` of ``harness.contract.stopping``.
    """

    kind: ClassVar[Kind]
    version: ClassVar[int]
    """Raised whenever the method's numbers change."""

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Rank the problem's pairs within the budget. Deterministic given the seed."""
        ...


@runtime_checkable
class Estimates(Protocol):
    """A method that knows beforehand what a cell will spend."""

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of one cell's spending."""
        ...


@runtime_checkable
class PublishedEstimates(Protocol):
    """A method whose authors' code spends otherwise than ours."""

    def published_estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """What the authors' code spends on the same cell, as they count."""
        ...


@runtime_checkable
class RungEstimates(Protocol):
    """A method with rungs that knows what all pairs of one seed are expected to spend together."""

    def estimate_rungs(self, sizes: Sequence[Sizes], budget: Budget) -> Estimate:
        """Expected spending of one seed.

        Args:
            sizes: Each pair's own problem.
            budget: The last rung's.
        """
        ...


@runtime_checkable
class TriesRates(Protocol):
    """A method that trains at a learning rate, or at several to keep the best of them."""

    @property
    def rates(self) -> tuple[float, ...]:
        """The peak learning rates that are tried, rising."""
        ...


@runtime_checkable
class WithoutBudget(Protocol):
    """A method that trains connectors and yet takes no budget, such as a closed form.

    ``score`` methods take none anyway.
    """

    without_budget: ClassVar[Literal[True]]


@runtime_checkable
class TrainsPairsAlone(Protocol):
    """A method that trains every pair's connector for itself, whatever pairs there are besides: a grid search.

    Where a sweep names no ``reference``, the others are compared with such a method, unless it stops trailing pairs.
    """

    pairs_alone: ClassVar[Literal[True]]


@runtime_checkable
class Recommended(Protocol):
    """A method that keeps a promise with its own defaults: its ``batch_size`` is all that a sweep file need give."""

    recommended_for: ClassVar[tuple[Promise, ...]]


@runtime_checkable
class ReadsParams(Protocol):
    """A method whose numbers depend on the encoders' parameter counts, which then are part of its cells' keys."""

    reads_params: ClassVar[Literal[True]]


@runtime_checkable
class Smokes(Protocol):
    """A method that has settings to shrink for ``harness sweep --smoke``."""

    smoke: ClassVar[Mapping[str, Any]]


def estimate_of(method: Method, sizes: Sizes, budget: Budget, convention: Convention = "ours") -> Estimate | None:
    """A method's own count of what a cell will spend.

    None if it has none, and for a budget of seconds, whose FLOPs only the machine can tell. Under the published
    convention it is the authors' own count where there is one, and else those phases of ours that the papers count.
    """
    if budget.seconds is not None:
        if isinstance(method, Estimates):
            method.estimate(sizes, Budget(epochs=1))  # it may refuse the shapes
        return None
    if convention == "published" and isinstance(method, PublishedEstimates):
        return method.published_estimate(sizes, budget)
    return counted_by(convention, method.estimate(sizes, budget) if isinstance(method, Estimates) else None)


def counted_by(convention: Convention, ours: Estimate | None) -> Estimate | None:
    """An estimate with the phases that a convention counts."""
    if ours is None or convention == "ours":
        return ours
    flops = {phase: spent for phase, spent in ours.flops.items() if phase in PUBLISHED_PHASES}
    if ours.generation:
        flops["hypernet"] -= ours.generation
    return dataclasses.replace(ours, flops={phase: spent for phase, spent in flops.items() if spent}, generation=0.0)


def takes_budget(method: Method) -> bool:
    """Whether a budget must be given, and may be."""
    return method.kind != "score" and not isinstance(method, WithoutBudget)


METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "add_encoder": "hyma.add_encoder:AddEncoder",
        "additive": "baselines.additive:Additive",
        "ape": "baselines.ape:Ape",
        "ape_asha": "baselines.asha:ApeAsha",
        "ape_halving": "baselines.halving:ApeHalving",
        "ape_stacked": "baselines.stacked:ApeStacked",
        "cca": "baselines.closed_form:Cca",
        "cka": "baselines.kernel_scores:Cka",
        "cknna": "baselines.kernel_scores:Cknna",
        "encoder_layers": "hyma.encoder_layers:EncoderLayers",
        "h_score": "baselines.linear_scores:HScore",
        "hyma": "hyma.method:Hyma",
        "hyper_align": "hyma.hyper_align:HyperAlign",
        "hyper_align_published": "hyma.hyper_align:HyperAlignPublished",
        "joint_polished": "hyma.joint_polished:JointPolished",
        "largest": "baselines.heuristics:Largest",
        "least_squares": "baselines.least_squares:LeastSquares",
        "logme": "baselines.linear_scores:LogMe",
        "low_rank": "baselines.additive:LowRankCompletion",
        "mutual_knn": "baselines.kernel_scores:MutualKnn",
        "polished": "baselines.polished:Polished",
        "procrustes": "baselines.closed_form:Procrustes",
        "random": "baselines.heuristics:Random",
        "ridge": "baselines.closed_form:Ridge",
        "shared_connector": "baselines.shared:SharedConnector",
        "spectral": "baselines.spectral:Spectral",
        "spectral_sample": "baselines.spectral:SpectralSample",
        "svcca": "baselines.linear_scores:Svcca",
        "unit1": "baselines.heuristics:Unit1",
        "winner": "baselines.winner:Winner",
    },
    group="harness.methods",
)
