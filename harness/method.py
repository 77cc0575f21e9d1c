"""The Method contract: the page a plug-in author reads.

A method ranks pairs. It is a frozen dataclass (its fields are its config, type-checked when the sweep file is read)
with a kind, a version and one function, ``fit``. See ``baselines/ape.py`` for a small one and
``docs/adding_a_method.md`` for a walk through.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from harness.connectors import ConnectorShape, Layers
from harness.data.bank import Bank
from harness.errors import Diverged, HarnessError
from harness.flops import Ledger
from harness.registry import Registry

Pair: TypeAlias = tuple[str, str]
"""(image encoder id, text encoder id)."""

Kind: TypeAlias = Literal["per_pair", "joint", "score"]
"""``per_pair`` and ``joint`` train connectors, one cell per pair or one for all; ``score`` ranks without connectors."""

Direction: TypeAlias = Literal["text_to_image", "image_to_text"]
Convention: TypeAlias = Literal["ours", "published"]
"""How FLOPs are counted by ``harness plan``."""
Loss: TypeAlias = Callable[[Tensor, Tensor, Tensor | float], Tensor]

METHODS: Registry["type[Method]"] = Registry(
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
        "largest": "baselines.heuristics:Largest",
        "logme": "baselines.linear_scores:LogMe",
        "low_rank": "baselines.additive:LowRank",
        "mutual_knn": "baselines.kernel_scores:MutualKnn",
        "procrustes": "baselines.closed_form:Procrustes",
        "random": "baselines.heuristics:Random",
        "ridge": "baselines.closed_form:Ridge",
        "shared_connector": "baselines.shared:SharedConnector",
        "svcca": "baselines.linear_scores:Svcca",
        "unit1": "baselines.heuristics:Unit1",
    },
    group="harness.methods",
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When to stop: exactly one limit.

    Attributes:
        epochs: Passes over the training images (of one caption each).
        updates_per_pair: Steps in which each pair takes part.
        flops: The method's FLOPs of training (all pairs of the cell together).
        seconds: Wall-clock of the training (all pairs of the cell together). Where it ends depends on the machine, so
            such a budget is not reproducible.
    """

    epochs: float | None = None
    updates_per_pair: float | None = None
    flops: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(vars(self))}; got {sorted(given) or 'none'}")
        if next(iter(given.values())) <= 0:
            raise ValueError(f"a budget must be positive, got {given}")

    def steps(self, *, steps_per_epoch: int, updates_per_step: float, flops_per_step: float) -> int:
        """Optimiser steps within the budget, at least one. Seconds say nothing of steps: a ValueError.

        Args:
            steps_per_epoch: Steps of one epoch.
            updates_per_step: Share of the pairs that take part in a step: pairs_per_step / pairs.
            flops_per_step: FLOPs of one step.
        """
        if self.seconds is not None:
            raise ValueError("how many steps fit into a budget of seconds is not known beforehand")
        if self.epochs is not None:
            steps = self.epochs * steps_per_epoch
        elif self.updates_per_pair is not None:
            steps = self.updates_per_pair / updates_per_step
        else:
            steps = (self.flops or 0.0) / flops_per_step
        return max(1, round(steps) if self.flops is None else int(steps))

    def scaled(self, factor: float) -> "Budget":
        """The same limit, times a factor."""
        return Budget(**{name: value * factor for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True)
class Batch:
    """Positions of one training batch in a Split: row i of both belong together."""

    images: Int64[np.ndarray, " batch"]
    captions: Int64[np.ndarray, " batch"]


@dataclass(frozen=True)
class Split:
    """One split of the data, seen through memory-mapped banks.

    Positions count from 0 within the split; ``caption_image`` gives the image position of every caption, ``labels``
    the class of every image (-1: none) where the data has classes.
    """

    image_banks: Mapping[str, Bank]
    text_banks: Mapping[str, Bank]
    image_rows: Int64[np.ndarray, " images"]
    caption_rows: Int64[np.ndarray, " captions"]
    caption_image: Int64[np.ndarray, " captions"]
    labels: Int64[np.ndarray, " images"] | None = None

    @cached_property
    def _captions_by_image(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        order = np.argsort(self.caption_image, kind="stable")
        counts = np.bincount(self.caption_image, minlength=len(self.image_rows))
        return order, np.concatenate([[0], np.cumsum(counts)[:-1]]), counts

    def images(self, encoder: str, at: Int64[np.ndarray, " rows"] | None = None) -> Float[Tensor, "rows dim"]:
        """L2-normalised float32 embeddings at these image positions (all: None), on the CPU."""
        rows = self.image_rows if at is None else self.image_rows[at]
        return torch.from_numpy(self.image_banks[encoder].take(rows))

    def texts(self, encoder: str, at: Int64[np.ndarray, " rows"] | None = None) -> Float[Tensor, "rows dim"]:
        """L2-normalised float32 embeddings at these caption positions (all: None), on the CPU."""
        rows = self.caption_rows if at is None else self.caption_rows[at]
        return torch.from_numpy(self.text_banks[encoder].take(rows))

    def batches(self, batch_size: int, seed: int, *, shuffle: bool = True) -> Iterator[Batch]:
        """Endless training batches: every image once an epoch, one of its captions drawn, the short last batch dropped.

        The same seed gives the same batches to every method. Without ``shuffle`` images come in their stored order.

        Raises:
            HarnessError: The batch is larger than the data.
        """
        n = len(self.image_rows)
        if batch_size > n:
            raise HarnessError(
                f"batch_size {batch_size} is larger than the {n} training images", fix=f"set batch_size to {n} or less"
            )
        order, first, counts = self._captions_by_image
        epoch = 0
        while True:
            rng = np.random.default_rng([seed, epoch])
            images = rng.permutation(n) if shuffle else np.arange(n)
            captions = order[first[images] + (rng.random(n) * counts[images]).astype(np.int64)]
            for start in range(0, n - batch_size + 1, batch_size):
                chosen = slice(start, start + batch_size)
                yield Batch(images[chosen].astype(np.int64), captions[chosen].astype(np.int64))
            epoch += 1


@dataclass(frozen=True)
class Sizes:
    """What planning knows of a problem: shapes and counts, no data.

    Attributes:
        pairs: The pairs of the cell.
        dims: Encoder id -> embedding dimension, images and texts.
        train_images: Images (and so samples) of one epoch.
        hidden_layers: Of the connector.
        width: Of the connector's hidden layers.
        direction: Which side is mapped.
        score_flops: FLOPs of one ``Problem.score`` of a pair.
        train_captions: Captions of the training images; None: one each.
        validation_images: Images of the validation split.
        classes: Classes of the data's labels, 0 without labels.
        linear_score_flops: The same with a connector without hidden layers, whatever the sweep's has; None: no other.
        image_params: Image encoder id -> its parameters, of those for which they are known.
        text_params: The same for text encoders.
    """

    pairs: tuple[Pair, ...]
    image_dims: Mapping[str, int]
    text_dims: Mapping[str, int]
    train_images: int
    hidden_layers: int
    width: int
    direction: Direction
    score_flops: Callable[[Pair], float]
    train_captions: int | None = None
    validation_images: int = 0
    classes: int = 0
    linear_score_flops: Callable[[Pair], float] | None = None
    image_params: Mapping[str, float] = field(default_factory=dict)
    text_params: Mapping[str, float] = field(default_factory=dict)

    def sides(self, pair: Pair) -> tuple[str, str]:
        """(encoder whose embeddings are mapped, encoder whose space they land in)."""
        return (pair[1], pair[0]) if self.direction == "text_to_image" else pair

    def shape(self, pair: Pair) -> ConnectorShape:
        """Sizes of this pair's connector."""
        image, text = self.image_dims[pair[0]], self.text_dims[pair[1]]
        source, target = (text, image) if self.direction == "text_to_image" else (image, text)
        return ConnectorShape(source, target, self.hidden_layers, self.width)

    def scoring(self, pair: Pair, *, linear: bool) -> float:
        """FLOPs of one ``Problem.score`` of a pair, by whether its connector is one layer."""
        return (self.linear_score_flops or self.score_flops)(pair) if linear else self.score_flops(pair)

    def steps_per_epoch(self, batch_size: int) -> int:
        """floor(images / batch size).

        Raises:
            HarnessError: The batch is larger than the data.
        """
        if batch_size > self.train_images:
            raise HarnessError(
                f"batch_size {batch_size} is larger than the {self.train_images} training images",
                fix=f"set batch_size to {self.train_images} or less",
            )
        return self.train_images // batch_size


@dataclass(frozen=True)
class Rung:
    """One rung of a method that stops trailing pairs (see ``Policy``).

    Attributes:
        budget: Where this rung ends, counted from the start of the training; the budget given to ``fit`` is that of
            the last rung.
        state: The ``Fit.state`` of the pair's rung before; None on the first rung, or when it is lost (start again).
    """

    budget: Budget
    state: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Problem:
    """What a method is given. The test split is not in it.

    Attributes:
        sizes: Pairs and shapes.
        train: Training banks.
        validation: Validation banks, for methods that pick hyper-parameters; ``score`` is usually all one needs.
        loss: The training objective: (mapped, target, logit scale) -> loss.
        device: Where to compute.
        ledger: Book every FLOP here.
        scorer: What ``score`` calls.
        higher_is_better: Sign of the selection metric.
        chance: Draws the selection metric of random answers; None: not known.
        rung: Where to go on and to stop, for a method with rungs.
    """

    sizes: Sizes
    train: Split
    validation: Split
    loss: Loss
    device: torch.device
    ledger: Ledger
    scorer: Callable[[Pair, Layers], float]
    higher_is_better: bool
    chance: Callable[[np.random.Generator], float] | None = None
    rung: Rung | None = None

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs of the cell."""
        return self.sizes.pairs

    def score(self, pair: Pair, layers: Layers) -> float:
        """The selection metric of a connector on validation data; its FLOPs are booked under ``eval``."""
        self.ledger.add("eval", self.sizes.scoring(pair, linear=len(layers) == 1))
        with self.ledger.section("eval"):
            return self.scorer(pair, layers)

    def sides(self, pair: Pair, batch: Batch) -> tuple[Float[Tensor, "batch in_dim"], Float[Tensor, "batch out_dim"]]:
        """(what the connector maps, what it should land on) of one training batch, on the device."""
        image = self.train.images(pair[0], batch.images)
        text = self.train.texts(pair[1], batch.captions)
        source, target = (text, image) if self.sizes.direction == "text_to_image" else (image, text)
        return source.to(self.device, non_blocking=True), target.to(self.device, non_blocking=True)


@dataclass(frozen=True)
class Checkpoint:
    """One point of a curve; see ``harness.store.CheckpointRecord`` for the fields."""

    step: int
    epoch: float
    updates_per_pair: float
    samples_per_pair: float
    flops: float
    seconds: float
    scores: Mapping[Pair, float]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a method returns.

    Attributes:
        scores: What it ranks each pair by, in the sign of the selection metric (a ``score`` method: larger is better).
        connectors: Trained connector of each pair, float32 on the CPU; None for ``score`` methods.
        predicted: Pairs whose score was predicted from other pairs' scores: they have no connector, and so no test
            score of their own.
        curve: Checkpoints in order; the last is the end of training.
        ledger: ``problem.ledger``.
        batch_size: Samples per update; None without batches.
        pairs_per_step: Pairs that take part in a step; None without steps.
        updates_per_pair: Mean over the pairs.
        samples_per_pair: Mean over the pairs.
        trained_params: Parameters trained.
        diverged: Set when training broke down; what was reached before stands in the other fields.
        lost: Pairs whose own training broke down while the others' went on. They have no score and no connector.
        warnings: Things a reader should know.
        state: What the pair's next rung needs to go on, for a method with rungs.
    """

    scores: Mapping[Pair, float]
    ledger: Ledger
    connectors: Mapping[Pair, Layers] | None = None
    predicted: frozenset[Pair] = frozenset()
    curve: tuple[Checkpoint, ...] = ()
    batch_size: int | None = None
    pairs_per_step: int | None = None
    updates_per_pair: float = 0.0
    samples_per_pair: float = 0.0
    trained_params: int = 0
    diverged: Diverged | None = None
    lost: Mapping[Pair, Diverged] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    state: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Estimate:
    """What a cell will spend, counted before it runs.

    Attributes:
        flops: Phase -> FLOPs.
        updates_per_pair: Mean over the pairs.
        trained_params: Parameters that will be trained.
    """

    flops: Mapping[str, float]
    updates_per_pair: float = 0.0
    trained_params: int = 0


@runtime_checkable
class Progress(Protocol):
    """Told by a method how far it is; raising from it stops the method."""

    def __call__(self, step: int, steps: int) -> None:
        """Step ``step`` of ``steps`` is done."""
        ...


@runtime_checkable
class Method(Protocol):
    """A way to rank pairs: a frozen dataclass whose fields are its config.

    Optional: ``estimate`` (see ``estimate_of``); ``budgeted = False`` (see ``takes_budget``); ``reads_params = True``
    when the numbers depend on the encoders' parameter counts, which then are part of the cell's key.
    """

    kind: ClassVar[Kind]
    version: ClassVar[int]
    """Raised whenever the method's numbers change."""

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Rank the problem's pairs within the budget. Deterministic given the seed."""
        ...


@runtime_checkable
class Policy(Protocol):
    """What a ``per_pair`` method adds to stop trailing pairs.

    Backends carry it out: one cell per pair, rung and seed. When every cell of a seed's rung has run, ``keep`` says
    which pairs go on; the others keep the score of the rung they reached and rank below those that went further.
    """

    def rungs(self, pairs: int, budget: Budget) -> Sequence[Budget]:
        """Budgets at the end of each rung, counted from the start, rising; the last is the whole budget."""
        ...

    def keep(self, rung: int, scores: Mapping[Pair, float], *, higher_is_better: bool) -> Sequence[Pair]:
        """Pairs that go on after this rung (numbered from 0).

        Args:
            rung: The rung that has run.
            scores: Validation scores of its pairs; NaN for one that diverged or failed.
            higher_is_better: Sign of the scores.
        """
        ...


@runtime_checkable
class AsyncPolicy(Protocol):
    """What a ``per_pair`` method adds to have trailing pairs stopped one by one, as results come in (ASHA).

    The rungs are cells as a ``Policy``'s, but a backend's scheduler decides after each of them, so such a method is not
    reproducible: which pairs reach a rung depends on the order in which cells end. A backend without one refuses.
    """

    reduction_factor: float
    """A pair goes on from a rung when it is among the best 1/reduction_factor of those that have ended it; also the
    ratio of the rungs' budgets."""

    def rungs(self, pairs: int, budget: Budget) -> Sequence[Budget]:
        """See ``Policy.rungs``."""
        ...


PUBLISHED_PHASES = ("connector", "logits", "hypernet")
"""What the papers count: forward and backward matrix products of training."""


def estimate_of(method: Method, sizes: Sizes, budget: Budget, convention: Convention = "ours") -> Estimate | None:
    """A method's own count of what a cell will spend: its optional ``estimate(sizes, budget)``.

    None if it has none, and for a budget of seconds, whose FLOPs only the machine can tell. Under the published
    convention it is the optional ``published_estimate`` where the authors' code spends otherwise than ours, and else
    those phases of ours that the papers count.
    """
    own: Any = getattr(method, "estimate", None)
    as_published: Any = getattr(method, "published_estimate", None)
    if own and budget.seconds is not None:
        own(sizes, Budget(epochs=1))  # it may refuse the shapes
        return None
    if convention == "published" and as_published:
        return as_published(sizes, budget)
    found: Estimate | None = own(sizes, budget) if own else None
    if found is None or convention == "ours":
        return found
    flops = {phase: spent for phase, spent in found.flops.items() if phase in PUBLISHED_PHASES}
    return dataclasses.replace(found, flops=flops)


def takes_budget(method: Method) -> bool:
    """Whether a budget must be given, and may be: not for ``score`` methods and those that say ``budgeted = False``."""
    return bool(getattr(method, "budgeted", method.kind != "score"))


__all__ = [
    "METHODS",
    "AsyncPolicy",
    "Batch",
    "Budget",
    "Checkpoint",
    "Convention",
    "Direction",
    "Estimate",
    "Fit",
    "Kind",
    "Loss",
    "Method",
    "Pair",
    "Policy",
    "Problem",
    "Progress",
    "Rung",
    "Sizes",
    "Split",
    "estimate_of",
    "takes_budget",
]
