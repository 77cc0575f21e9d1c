"""Problems over arrays in memory: what tests give a method without a sweep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch

from harness.connectors.linear import Linear
from harness.connectors.mlp import Mlp
from harness.contract.connector import Connector, ConnectorKind, as_connector
from harness.contract.ledger import Ledger
from harness.contract.metric import contributions, measured, values
from harness.contract.split import Embeddings
from harness.method import Budget, Direction, Fit, Method, Pair, Problem, ScoringCost, Sizes, Split
from harness.objectives.info_nce import InfoNce
from harness.tasks.base import both_sides
from harness.tasks.retrieval import Retrieval


@dataclass
class Table:
    """Embeddings in memory; counts the rows that are read."""

    rows: np.ndarray
    rows_read: int = 0

    def take(self, rows: np.ndarray) -> np.ndarray:
        self.rows_read += len(rows)
        return self.rows[rows]


def tables(encoders: Mapping[str, np.ndarray]) -> dict[str, Embeddings]:
    """Encoder -> its L2-normalised rows."""
    return {
        name: Table((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
        for name, rows in encoders.items()
    }


def connector_of(hidden_layers: int, width: int = 24) -> ConnectorKind:
    """A linear connector, or an MLP."""
    return Mlp(hidden_layers, width) if hidden_layers else Linear()


def sizes_of(image_dims: Mapping[str, int], text_dims: Mapping[str, int], **changes: Any) -> Sizes:
    """Sizes of all pairs of these encoders, of 256 training images unless the changes say otherwise."""
    values: dict[str, Any] = {
        "pairs": tuple(product(image_dims, text_dims)),
        "image_dims": image_dims,
        "text_dims": text_dims,
        "train_images": 256,
        "connector": Linear(),
        "direction": "text_to_image",
        "objective": InfoNce,
        "scoring": ScoringCost(0, 0, 0.0),
    }
    return Sizes(**(values | changes))


def numbered_sizes(image_dims: Sequence[int], text_dims: Sequence[int], **changes: Any) -> Sizes:
    """The same of encoders called i0, i1, ... and t0, t1, ..."""
    images, texts = (
        {f"{side}{n}": d for n, d in enumerate(dims)} for side, dims in zip("it", (image_dims, text_dims), strict=True)
    )
    return sizes_of(images, texts, **changes)


def problem_of(
    sizes: Sizes,
    train: Split,
    validation: Split | None = None,
    *,
    scorer: Callable[[Pair, Connector], float] = lambda pair, connector: 0.0,
    higher_is_better: bool = True,
) -> Problem:
    """A problem on the CPU; it is validated on the training split unless another is given."""
    return Problem(
        sizes=sizes,
        train=train,
        validation=validation or train,
        device=torch.device("cpu"),
        ledger=Ledger(),
        scorer=scorer,
        higher_is_better=higher_is_better,
    )


def silent(step: int, steps: int) -> None:
    """Progress that nobody hears."""


@dataclass(frozen=True)
class Made:
    """A problem, and ways to fit a method on it."""

    problem: Problem

    def fit(self, method: Method, seed: int = 0, budget: Budget | None = None) -> Fit:
        return method.fit(self.problem, budget or Budget(epochs=1), seed=seed, progress=silent)

    def fresh(self) -> "Made":
        """The same with an empty ledger."""
        return self.of(self.problem.pairs)

    def of(self, pairs: Sequence[Pair]) -> "Made":
        """These pairs alone, with an empty ledger."""
        sizes = replace(self.problem.sizes, pairs=tuple(pairs))
        return Made(replace(self.problem, sizes=sizes, ledger=Ledger()))


def connectors_of(fit: Fit) -> dict[Pair, Connector]:
    """The connectors that a method has handed over."""
    assert fit.connectors is not None
    return {pair: as_connector(made) for pair, made in fit.connectors.items()}


def matched(
    images: dict[str, np.ndarray],
    texts: dict[str, np.ndarray],
    *,
    owner: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    direction: Direction = "text_to_image",
    metric: str = "text_to_image_r1",
    image_params: dict[str, float] | None = None,
    text_params: dict[str, float] | None = None,
    validation_images: int | None = None,
) -> Made:
    """A problem over these ``{encoder: [rows, dim]}`` arrays, scored by retrieval among the last quarter or so many."""
    n = len(next(iter(images.values())))
    owner = np.arange(n) if owner is None else owner
    image_banks, text_banks = tables(images), tables(texts)
    cut = n * 3 // 4 if validation_images is None else n - validation_images

    def split(rows: np.ndarray) -> Split:
        captions = np.flatnonzero(np.isin(owner, rows))
        return Split(
            image_banks=image_banks,
            text_banks=text_banks,
            image_rows=rows,
            caption_rows=captions,
            caption_image=owner[captions] - rows[0],
            labels=None if labels is None else labels[rows],
        )

    train, validation = split(np.arange(cut)), split(np.arange(cut, n))
    task, asked = Retrieval(), measured(Retrieval.metrics, [metric])
    units = {"text_to_image": validation.caption_image, "image_to_text": np.arange(n - cut)}

    def by_unit(pair: Pair, connector: Connector) -> tuple[float, np.ndarray | None]:
        sides = both_sides(connector, validation.images(pair[0]), validation.texts(pair[1]), direction)
        found = task.compare(*sides, torch.from_numpy(validation.caption_image), asked)
        return values(task.metrics, found)[metric], contributions(task.metrics, metric, found, units)

    def score(pair: Pair, connector: Connector) -> float:
        return by_unit(pair, connector)[0]

    asked_images, asked_captions = len(validation.image_rows), len(validation.caption_rows)
    sizes = sizes_of(
        {e: x.shape[1] for e, x in images.items()},
        {e: x.shape[1] for e, x in texts.items()},
        train_images=cut,
        direction=direction,
        scoring=ScoringCost(asked_images, asked_captions, task.comparisons(asked_images, asked_captions, asked)),
        train_captions=len(train.caption_rows),
        validation_images=n - cut,
        classes=0 if labels is None else int(labels.max()) + 1,
        image_params=image_params or {},
        text_params=text_params or {},
    )
    better = Retrieval.metrics[metric].higher_is_better
    made = problem_of(sizes, train, validation, scorer=score, higher_is_better=better)
    return Made(replace(made, by_unit=by_unit))


def views(
    n: int, dims: dict[str, int], *, noise: dict[str, float] | None = None, latent: int = 6, seed: int = 0
) -> dict[str, np.ndarray]:
    """Noisy linear views of the same latent factors (those of seed 0), with an offset."""
    z = np.random.default_rng(99).standard_normal((n, latent))
    rng = np.random.default_rng([7, seed])
    return {
        name: z @ rng.standard_normal((latent, dim))
        + (noise or {}).get(name, 0.1) * rng.standard_normal((n, dim))
        + rng.standard_normal(dim)
        for name, dim in dims.items()
    }
