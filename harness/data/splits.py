"""Deterministic, disjoint splits by image or by group of images."""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Int64
from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.contract.seeding import stream
from harness.data.base import SPLITS
from harness.errors import HarnessError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class SplitConfig(BaseModel):
    """Shares of the images; a share of 0 leaves a split empty on purpose (e.g. data for zero-shot evaluation only).

    Attributes:
        train: Share for training.
        validation: Share for validation.
        test: Share for testing.
        seed: Seed of the draw.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Fraction = 0.7
    validation: Fraction = 0.1
    test: Fraction = 0.2
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _sums_to_one(self) -> "SplitConfig":
        if not math.isclose(total := sum(self.shares), 1.0, abs_tol=1e-6):
            raise ValueError(f"train + validation + test must be 1, got {total:g}")
        return self

    @property
    def shares(self) -> tuple[float, float, float]:
        """The shares in the order of ``SPLITS``."""
        return self.train, self.validation, self.test


def group_numbers(groups: Sequence[str | int] | np.ndarray) -> Int64[np.ndarray, " images"]:
    """Number of each image's group, from 0."""
    return np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1).astype(np.int64)


def split_rows(
    n: int, config: SplitConfig, groups: Sequence[str | int] | np.ndarray | None = None
) -> dict[str, Int64[np.ndarray, " rows"]]:
    """Draw the splits.

    Groups (single images where there are none) are shuffled with the seed and laid end to end; a group goes to the
    split in whose share its middle falls, so all of it goes to one split.

    Args:
        n: Number of images.
        config: Shares and seed.
        groups: ``[n]`` group of each image, or None.

    Returns:
        Split name -> sorted image rows; disjoint, together all rows.

    Raises:
        HarnessError: A split that was asked for would be empty.
    """
    group_of = np.arange(n) if groups is None else group_numbers(groups)
    if len(group_of) != n:
        raise HarnessError(f"{len(group_of)} groups for {n} images")
    sizes = np.bincount(group_of) if n else np.zeros(0, dtype=np.int64)
    order = stream(config.seed, "split").permutation(len(sizes))
    middle = np.empty(len(sizes))
    middle[order] = np.cumsum(sizes[order]) - sizes[order] / 2
    # The last split with a share takes the rest, whatever rounding says; a share of 0 has no width to fall into.
    present = [i for i, share in enumerate(config.shares) if share > 0]
    bounds = np.cumsum([config.shares[i] for i in present])[:-1] * n
    split_of = np.asarray(present)[np.searchsorted(bounds, middle, side="right")][group_of]
    return named_splits(split_of, required=[SPLITS[i] for i in present], unit="images" if groups is None else "groups")


def named_splits(
    split_of: np.ndarray, required: Sequence[str] = SPLITS, unit: str = "images"
) -> dict[str, Int64[np.ndarray, " rows"]]:
    """Rows by split from one split number (position in ``SPLITS``) per row.

    Raises:
        HarnessError: A required split is empty.
    """
    rows = {name: np.flatnonzero(split_of == i).astype(np.int64) for i, name in enumerate(SPLITS)}
    if empty := [name for name in required if not len(rows[name])]:
        raise HarnessError(
            f"the {' and '.join(empty)} split of {len(split_of)} images is empty",
            fix=f"give it a larger share, more {unit}, or a share of 0",
        )
    return rows
