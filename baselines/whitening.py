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

from baselines.linalg import CHUNK, cholesky_flops, cholesky_solve_flops, sides_of
from harness.contract.problem import Problem, Sizes
from harness.contract.seeding import stream

Captions = Literal["mean", "all"]
"""Which captions a text encoder's covariance is of: the mean of each image's, or every one."""

BLOCKS = 4
"""Column blocks of a symmetric product, of which one triangle is computed."""


def row_count(sizes: Sizes, rows: int | Literal["all"]) -> int:
    """Images of the sample."""
    return sizes.train_images if rows == "all" else min(rows, sizes.train_images)


class PairedRows:
    """A sample of the training images beside the means of their captions: the same for every encoder and seed.

    A row counts as often as it has captions.

    Args:
        problem: Whose training rows.
        rows: Images, the first of a fixed, seeded order.
    """

    def __init__(self, problem: Problem, rows: int | Literal["all"]) -> None:
        self._train, self._device = problem.train, problem.device
        owner = problem.train.caption_image
        self._counts = np.bincount(owner, minlength=len(problem.train.image_rows))
        captioned = np.flatnonzero(self._counts)
        order = stream(0, "row sample").permutation(len(captioned))[: row_count(problem.sizes, rows)]
        self._at = captioned[np.sort(order)].astype(np.int64)
        self._captions = np.argsort(owner, kind="stable")
        self._first = np.concatenate([[0], np.cumsum(self._counts)[:-1]])

    def __len__(self) -> int:
        return len(self._at)

    @property
    def captions(self) -> int:
        """Captions of these images."""
        return int(self._counts[self._at].sum())

    def chunks(self, size: int) -> list[slice]:
        """The images in chunks of at most this size."""
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def read(self, encoder: str, *, text: bool, part: slice) -> Float[Tensor, "images dim"]:
        """These images, or the means of their captions, by an encoder; float32 on the device."""
        if not text:
            return self._train.images(encoder, self._at[part]).to(self._device)
        counts = self._counts[self._at[part]]
        sums = np.add.reduceat(self._texts(encoder, part), np.cumsum(counts) - counts, axis=0)
        return torch.from_numpy(sums / counts[:, None].astype(np.float32)).to(self._device)

    def roots(self, part: slice) -> Float[Tensor, "images 1"]:
        """Square roots of these images' weights, whose mean over all is 1: what both sides of a product are times."""
        weights = self._counts[self._at[part]] * (len(self) / self.captions)
        return torch.from_numpy(np.sqrt(weights)[:, None].astype(np.float32)).to(self._device)

    def every_caption(self, encoder: str, part: slice) -> Float[Tensor, "captions dim"]:
        """Each caption of these images by a text encoder."""
        return torch.from_numpy(self._texts(encoder, part)).to(self._device)

    def _texts(self, encoder: str, part: slice) -> np.ndarray:
        counts = self._counts[self._at[part]]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        at = self._captions[np.repeat(self._first[self._at[part]], counts) + within]
        return self._train.texts(encoder, at).numpy()


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
        ridged = self.moment.clone()
        ridged.diagonal().add_(penalty * self.moment.trace().clamp_min(1e-12) / self.dim)
        factor = torch.linalg.cholesky(ridged)
        return Whitener(self.mean, factor.float(), dual=len(self.moment) < self.dim)


@dataclass(frozen=True)
class Whitener:
    """``(C + ridge I)^-1`` of an encoder, applied to its centred rows.

    With ``n`` rows X, ``X (X'X/n + ridge I)^-1 = (XX'/n + ridge I)^-1 X``: the smaller matrix is factorised.
    """

    mean: Float[Tensor, " dim"]
    factor: Float[Tensor, "_ _"]
    dual: bool

    def __call__(self, rows: Float[Tensor, "rows dim"], roots: Float[Tensor, "rows 1"]) -> Float[Tensor, "rows dim"]:
        """``roots (rows - mean) (C + ridge I)^-1``; in the dual form these must be all the rows."""
        centred = (rows - self.mean) * roots
        return self._solved(centred.T.contiguous()).T if self.dual else self._solved(centred)

    def _solved(self, rows: Float[Tensor, "_ inner"]) -> Float[Tensor, "_ inner"]:
        """``rows (L L')^-1``.

        From the right: on rows as they lie in memory two triangular solves are up to twice as fast as LAPACK's potrs.
        """
        half = torch.linalg.solve_triangular(self.factor.T, rows, upper=True, left=False)
        return torch.linalg.solve_triangular(self.factor, half, upper=False, left=False)


def chunk_of(dims: Sequence[int]) -> int:
    """Rows read at once: enough that rows fewer than dimensions are one chunk."""
    return max(CHUNK, *dims)


def spreads(rows: PairedRows, dims: Mapping[str, int], *, text: bool, captions: Captions) -> dict[str, Spread]:
    """Moments of these encoders (id -> dimension), all of one modality."""
    every = text and captions == "all"
    found = {}
    for encoder, dim in dims.items():
        parts = rows.chunks(chunk_of([dim]))
        total, moment = torch.zeros(()), None
        for part in parts:
            total = total + (rows.read(encoder, text=text, part=part) * rows.roots(part).square()).double().sum(0)
        mean = (total / len(rows)).float()
        dual = not every and len(rows) < dim
        for part in parts:
            if every:
                centred = rows.every_caption(encoder, part) - mean
            else:
                centred = (rows.read(encoder, text=text, part=part) - mean) * rows.roots(part)
            added = symmetric_product(centred.T if dual else centred).double()
            moment = added if moment is None else moment.add_(added)
        assert moment is not None
        found[encoder] = Spread(mean, moment.div_(rows.captions if every else len(rows)), dim)
    return found


def spread_flops(sizes: Sizes, rows: int, captions: float | None) -> float:
    """Moments of all encoders of both sides.

    Args:
        sizes: The encoders.
        rows: Images.
        captions: Their captions, if text encoders' moments are of each; None: of their means.
    """

    def cost(dim: int, text: bool) -> float:
        if text and captions is not None:
            return captions / rows * symmetric_product_flops(rows, dim)
        return symmetric_product_flops(*((dim, rows) if rows < dim else (rows, dim)))

    return sum(cost(dim, text) for text, dim in _encoders(sizes))


def whitening_flops(sizes: Sizes, rows: int, *, every_caption: bool) -> float:
    """Factorising all encoders of both sides once, and whitening all their rows."""

    def cost(dim: int, text: bool) -> float:
        if rows < dim and not (text and every_caption):
            return cholesky_flops(rows) + cholesky_solve_flops(rows, dim)
        return cholesky_flops(dim) + cholesky_solve_flops(dim, rows)

    return sum(cost(dim, text) for text, dim in _encoders(sizes))


def _encoders(sizes: Sizes) -> Iterator[tuple[bool, int]]:
    """(whether it is a text encoder, its dimension)."""
    maps_text = sizes.direction == "text_to_image"
    for side, dims in zip((maps_text, not maps_text), sides_of(sizes), strict=True):
        yield from ((side, dim) for dim in dims.values())
