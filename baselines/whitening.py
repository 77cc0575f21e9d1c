"""Paired training rows of every encoder, and the inverse covariance of each applied to its own.

All that depends on one encoder is done here, once for all its pairs. Large products are float32, added up over chunks
in float64; factorisations are float64.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from baselines.linalg import CHUNK, captions_of, cholesky_flops, cholesky_solve_flops, sides_of
from harness.contract.problem import Problem, Sizes
from harness.contract.seeding import stream

Captions = Literal["mean", "all"]
"""A row is an image beside the mean of its captions, or a caption beside its image."""

BLOCKS = 4
"""Column blocks of a symmetric product, of which one triangle is computed."""


def row_count(sizes: Sizes, rows: int | Literal["all"], captions: Captions) -> int:
    """Rows of the sample."""
    there = sizes.train_images if captions == "mean" else captions_of(sizes)
    return there if rows == "all" else min(rows, there)


class PairedRows:
    """A sample of the training rows: the first of a fixed, seeded order, the same for every encoder and seed.

    Args:
        problem: Whose training rows.
        rows: Size of the sample.
        captions: What a row is.
    """

    def __init__(self, problem: Problem, rows: int | Literal["all"], captions: Captions) -> None:
        self._train, self._device, self._mean = problem.train, problem.device, captions == "mean"
        owner = problem.train.caption_image
        # What the sample counts: captioned images, or captions.
        there = np.unique(owner) if self._mean else np.arange(len(owner))
        order = stream(0, "row sample").permutation(len(there))[: row_count(problem.sizes, rows, captions)]
        self._at = there[np.sort(order)].astype(np.int64)
        if self._mean:
            self._captions = np.argsort(owner, kind="stable")
            counts = np.bincount(owner, minlength=len(problem.train.image_rows))
            self._counts, self._first = counts, np.concatenate([[0], np.cumsum(counts)[:-1]])

    def __len__(self) -> int:
        return len(self._at)

    def chunks(self, size: int) -> list[slice]:
        """The rows in chunks of at most this size."""
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def read(self, encoder: str, *, text: bool, part: slice) -> Float[Tensor, "rows dim"]:
        """These rows of an encoder, float32 on the device."""
        at = self._at[part]
        if not self._mean:
            owners = self._train.caption_image[at]
            return (self._train.texts(encoder, at) if text else self._train.images(encoder, owners)).to(self._device)
        if not text:
            return self._train.images(encoder, at).to(self._device)
        counts = self._counts[at]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        captions = self._captions[np.repeat(self._first[at], counts) + within]
        rows = self._train.texts(encoder, captions).numpy()
        sums = np.add.reduceat(rows, np.cumsum(counts) - counts, axis=0)
        return torch.from_numpy(sums / counts[:, None].astype(np.float32)).to(self._device)


def symmetric_product(x: Float[Tensor, "rows dim"]) -> Float[Tensor, "dim dim"]:
    """``x' x``, of which blocks below the diagonal are copied, not computed."""
    dim = x.shape[1]
    out = x.new_empty(dim, dim)
    for start, stop in _blocks(dim):
        out[start:stop, start:] = x[:, start:stop].T @ x[:, start:]
        out[stop:, start:stop] = out[start:stop, stop:].T
    return out


def symmetric_product_flops(rows: int, dim: int) -> float:
    """FLOPs of ``symmetric_product``: 5/8 of the whole product's."""
    return sum(2.0 * rows * (stop - start) * (dim - start) for start, stop in _blocks(dim))


def _blocks(dim: int) -> Iterator[tuple[int, int]]:
    size = -(-dim // BLOCKS)
    return ((start, min(start + size, dim)) for start in range(0, dim, size))


@dataclass(frozen=True)
class Spread:
    """Mean and second moment of an encoder's rows.

    Attributes:
        mean: ``[dim]``.
        moment: ``[dim, dim]`` covariance, or with fewer rows than dimensions their centred Gram matrix over their
            number, ``[rows, rows]``; float64.
        dim: Dimension of the rows.
    """

    mean: Float[Tensor, " dim"]
    moment: Float[Tensor, "_ _"]
    dim: int

    def whitener(self, penalty: float) -> "Whitener":
        """Factorise for a penalty, relative to the covariance's mean eigenvalue."""
        ridge = penalty * self.moment.trace().clamp_min(1e-12) / self.dim
        eye = torch.eye(len(self.moment), dtype=self.moment.dtype, device=self.moment.device)
        factor = torch.linalg.cholesky(self.moment + ridge * eye)
        return Whitener(self.mean, factor.float(), dual=len(self.moment) < self.dim)


@dataclass(frozen=True)
class Whitener:
    """``(C + ridge I)^-1`` of an encoder, applied to its centred rows.

    With ``n`` rows X, ``X (X'X/n + ridge I)^-1 = (XX'/n + ridge I)^-1 X``: the smaller matrix is factorised.
    """

    mean: Float[Tensor, " dim"]
    factor: Float[Tensor, "_ _"]
    dual: bool

    def __call__(self, rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
        """``(rows - mean) (C + ridge I)^-1``; in the dual form these must be all the rows."""
        centred = rows - self.mean
        return (
            torch.cholesky_solve(centred, self.factor) if self.dual else torch.cholesky_solve(centred.T, self.factor).T
        )


def chunk_of(dims: Sequence[int]) -> int:
    """Rows read at once: enough that rows fewer than dimensions are one chunk."""
    return max(CHUNK, *dims)


def spreads(rows: PairedRows, dims: Mapping[str, int], *, text: bool) -> dict[str, Spread]:
    """Moments of these encoders (id -> dimension), all of one modality."""
    found = {}
    for encoder, dim in dims.items():
        parts = rows.chunks(chunk_of([dim]))
        total = sum((rows.read(encoder, text=text, part=part).double().sum(0) for part in parts), torch.zeros(()))
        mean = (torch.as_tensor(total) / len(rows)).float()
        moment: Tensor | None = None
        for part in parts:
            centred = rows.read(encoder, text=text, part=part) - mean
            added = symmetric_product(centred.T if len(rows) < dim else centred).double()
            moment = added if moment is None else moment.add_(added)
        assert moment is not None
        found[encoder] = Spread(mean, moment.div_(len(rows)), dim)
    return found


def spread_flops(sizes: Sizes, rows: int) -> float:
    """Moments of all encoders of both sides."""
    dims = [dim for side in sides_of(sizes) for dim in side.values()]
    return sum(symmetric_product_flops(*((d, rows) if rows < d else (rows, d))) for d in dims)


def whitening_flops(sizes: Sizes, rows: int) -> float:
    """Factorising all encoders of both sides once, and whitening all their rows."""
    dims = [dim for side in sides_of(sizes) for dim in side.values()]
    factors = sum(cholesky_flops(min(rows, d)) for d in dims)
    return factors + sum(cholesky_solve_flops(rows, d) if rows < d else cholesky_solve_flops(d, rows) for d in dims)
