"""What a method is given: the sizes that planning knows too, and the data."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float

from harness.contract.connector import Connector, ConnectorKind, Dims, Layers, as_connector, prefix_length
from harness.contract.keeping import Keeper
from harness.contract.ledger import Ledger
from harness.contract.objective import LogitScale, Objective, ObjectiveKind, ObjectiveSetting
from harness.contract.pairs import Direction, Pair
from harness.contract.resident import resident_on
from harness.contract.split import Batch, Split, check_batch_size
from harness.contract.stopping import Rung
from harness.errors import HarnessError

UnitScores: TypeAlias = Float[np.ndarray, " _"]
"""``[units]`` what each unit contributes to a score; their mean is the score."""


@dataclass(frozen=True)
class ScoringCost:
    """What it costs to measure one connector once, before any data is there.

    Attributes:
        images: Rows that the connector maps if it maps images.
        texts: Rows that it maps if it maps texts.
        comparisons: Inner products of mapped rows with rows of the other side.
        of_text: Text encoder id -> further FLOPs (a language model's forward, say).
    """

    images: int
    texts: int
    comparisons: float
    of_text: Mapping[str, float] = field(default_factory=dict)

    def flops(self, kind: ConnectorKind, dims: Dims, pair: Pair, direction: Direction) -> float:
        """FLOPs for a pair whose connector is of this kind."""
        mapped = self.texts if direction == "text_to_image" else self.images
        products = kind.forward_flops(dims, mapped) + 2.0 * self.comparisons * dims.out_dim
        return products + self.of_text.get(pair[1], 0.0)


@dataclass(frozen=True)
class Sizes:
    """What planning knows of a problem: shapes and counts, no data and no functions of the sweep.

    Attributes:
        pairs: The pairs of the cell.
        image_dims: Image encoder id -> its embedding dimension.
        text_dims: The same for text encoders.
        train_images: Training images that have a caption, and so samples of one epoch.
        connector: The kind of connector that the sweep asks for.
        direction: Which side is mapped.
        objective: What training minimises, for its closed-form costs.
        scoring: What one ``Problem.score`` costs.
        train_captions: Captions of the training images; None: one each.
        validation_images: Images of the validation split.
        classes: Classes of the data's labels, 0 without labels.
        image_params: Image encoder id -> its parameters, of those for which they are known.
        text_params: The same for text encoders.
    """

    pairs: tuple[Pair, ...]
    image_dims: Mapping[str, int]
    text_dims: Mapping[str, int]
    train_images: int
    connector: ConnectorKind
    direction: Direction
    objective: ObjectiveKind
    scoring: ScoringCost
    train_captions: int | None = None
    validation_images: int = 0
    classes: int = 0
    image_params: Mapping[str, float] = field(default_factory=dict)
    text_params: Mapping[str, float] = field(default_factory=dict)

    def sides(self, pair: Pair) -> tuple[str, str]:
        """(encoder whose embeddings are mapped, encoder whose space they land in)."""
        return (pair[1], pair[0]) if self.direction == "text_to_image" else pair

    def dims(self, pair: Pair) -> Dims:
        """What this pair's connector maps between."""
        image, text = self.image_dims[pair[0]], self.text_dims[pair[1]]
        return Dims(text, image) if self.direction == "text_to_image" else Dims(image, text)

    def score_flops(self, pair: Pair, kind: ConnectorKind | None = None) -> float:
        """FLOPs of one ``Problem.score`` of a pair, with a connector of the sweep's kind or of another.

        Raises:
            HarnessError: The other kind does not fit where the sweep's does.
        """
        made, wanted = prefix_length(kind or self.connector), prefix_length(self.connector)
        if made != wanted:
            raise HarnessError(
                f"makes connectors of {made} input embedding, and the sweep's connector makes {wanted}",
                fix="leave the method out, or use a connector of one",
            )
        return self.scoring.flops(kind or self.connector, self.dims(pair), pair, self.direction)

    def steps_per_epoch(self, batch_size: int) -> int:
        """floor(images / batch size).

        Raises:
            HarnessError: The batch is larger than the data.
        """
        check_batch_size(batch_size, self.train_images)
        return self.train_images // batch_size


@dataclass(frozen=True)
class Problem:
    """What a method is given. The test split is not in it.

    Attributes:
        sizes: Pairs and shapes.
        train: Training banks.
        validation: Validation banks, for methods that pick hyper-parameters; ``score`` is usually all one needs.
        device: Where to compute.
        ledger: Book every FLOP here.
        scorer: What ``score`` calls.
        higher_is_better: Sign of the selection metric.
        chance: Draws the selection metric of random answers; None: not known.
        rung: Where to go on and to stop, for a method with rungs.
        ends: Updates per pair at which methods end that this one is compared with: a training is scored there too, so
            that both can be read at the same number of updates. Such a score changes no metric, so it is no part of a
            cell's key, and no FLOPs of the method: it is booked as the runner's evaluation.
        by_unit: What ``score_by_unit`` calls.
        keeper: Keeps trainings while they go on; None: nothing is kept.
    """

    sizes: Sizes
    train: Split
    validation: Split
    device: torch.device
    ledger: Ledger
    scorer: Callable[[Pair, Connector], float]
    higher_is_better: bool
    chance: Callable[[np.random.Generator], float] | None = None
    rung: Rung | None = None
    ends: tuple[float, ...] = ()
    by_unit: Callable[[Pair, Connector], tuple[float, UnitScores | None]] | None = None
    keeper: Keeper | None = None

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs of the cell."""
        return self.sizes.pairs

    def score(self, pair: Pair, connector: Connector | Layers) -> float:
        """The selection metric of a connector on validation data; its FLOPs are booked under ``eval``."""
        connector = as_connector(connector)
        self.ledger.add("eval", self.sizes.score_flops(pair, connector.kind))
        with self.ledger.section("eval"):
            return self.scorer(pair, connector)

    def score_by_unit(self, pair: Pair, connector: Connector | Layers) -> tuple[float, UnitScores | None]:
        """The score, and what each unit of the validation data contributes to it, for methods that race pairs.

        Units (images, or groups of them) come in one order for all pairs, so that differences of pairs are paired. The
        contributions' mean is the score; None where the selection metric is no mean. Costs what ``score`` costs.
        """
        connector = as_connector(connector)
        if self.by_unit is None:
            return self.score(pair, connector), None
        self.ledger.add("eval", self.sizes.score_flops(pair, connector.kind))
        with self.ledger.section("eval"):
            return self.by_unit(pair, connector)

    def objective(
        self, *, logit_scale: LogitScale, dtype: torch.dtype = torch.float32, pairs: tuple[Pair, ...] | None = None
    ) -> Objective:
        """A fresh objective for these pairs (all: None), with the method's temperature and precision."""
        setting = ObjectiveSetting(
            pairs=self.pairs if pairs is None else pairs,
            direction=self.sizes.direction,
            device=self.device,
            dtype=dtype,
            logit_scale=logit_scale,
        )
        return self.sizes.objective(setting)

    def batches(self, batch_size: int, seed: int, *, shuffle: bool = True) -> Iterator[Batch]:
        """Endless training batches on the device, where embeddings stay if they fit; see ``Split.batches``."""
        kept = resident_on(self.device)
        return self.train.batches(batch_size, seed, shuffle=shuffle, device=self.device, resident=kept)
