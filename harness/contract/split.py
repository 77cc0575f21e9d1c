"""The data that a method sees: rows of memory-mapped banks, and training batches of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, Num
from torch import Tensor

from harness.contract.language import PAD
from harness.contract.pairs import Direction, Pair
from harness.contract.resident import Resident
from harness.contract.seeding import stream
from harness.errors import HarnessError


@runtime_checkable
class Embeddings(Protocol):
    """Stored embeddings of one encoder (a bank)."""

    def take(self, rows: Int64[np.ndarray, " rows"]) -> Num[np.ndarray, "rows dim"]:
        """A copy of these rows, in this order: float32, or int32 where the bank holds tokens."""
        ...


@dataclass(frozen=True)
class Bucketing:
    """Batches of captions of like length, so that little of them is padding.

    Attributes:
        lengths: ``[captions]`` length of every caption of the split, by one measure for all methods.
        batches: Batches of a window. Within a window captions are sorted by length before they are cut into batches,
            and these come in a drawn order.
    """

    lengths: Int64[np.ndarray, " captions"]
    batches: int

    def order(
        self, captions: Int64[np.ndarray, " samples"], batch_size: int, rng: np.random.Generator
    ) -> Int64[np.ndarray, " samples"]:
        """The order in which an epoch's samples are taken; what the last short batch holds stays at the end."""
        taken = np.arange(len(captions))
        whole = len(captions) // batch_size * batch_size
        window = self.batches * batch_size
        for start in range(0, whole, window):
            stop = min(start + window, whole)
            by_length = start + np.argsort(self.lengths[captions[start:stop]], kind="stable")
            drawn = rng.permutation((stop - start) // batch_size)
            taken[start:stop] = by_length.reshape(-1, batch_size)[drawn].reshape(-1)
        return taken


@dataclass(frozen=True)
class Split:
    """One split of the data, seen through memory-mapped banks.

    Positions count from 0 within the split; ``caption_image`` gives the image position of every caption, ``labels``
    the class of every image (-1: none) where the data has classes. ``token_banks`` hold the captions' tokens of the
    language models among the text encoders; ``bucketing`` puts captions of like length into one batch.
    """

    image_banks: Mapping[str, Embeddings]
    text_banks: Mapping[str, Embeddings]
    image_rows: Int64[np.ndarray, " images"]
    caption_rows: Int64[np.ndarray, " captions"]
    caption_image: Int64[np.ndarray, " captions"]
    labels: Int64[np.ndarray, " images"] | None = None
    token_banks: Mapping[str, Embeddings] = field(default_factory=dict)
    bucketing: Bucketing | None = None

    def lengths(self, model: str) -> Int64[np.ndarray, " captions"]:
        """Tokens of every caption, as a language model counts them."""
        if model not in self._lengths:
            self._lengths[model] = (self.token_banks[model].take(self.caption_rows) != PAD).sum(1).astype(np.int64)
        return self._lengths[model]

    @cached_property
    def _lengths(self) -> dict[str, Int64[np.ndarray, " captions"]]:
        return {}

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

    def tokens(self, model: str, at: Int64[np.ndarray, " rows"] | None = None) -> Int64[Tensor, "rows tokens"]:
        """A language model's tokens at these caption positions (all: None), on the CPU; see ``contract.language``."""
        rows = self.caption_rows if at is None else self.caption_rows[at]
        return torch.from_numpy(self.token_banks[model].take(rows)).long()

    def batches(
        self,
        batch_size: int,
        seed: int,
        *,
        shuffle: bool = True,
        device: torch.device | str = "cpu",
        resident: Resident | None = None,
    ) -> Iterator["Batch"]:
        """Endless training batches: every image once an epoch, one of its captions drawn, the short last batch dropped.

        Images without captions take no part. The same seed gives the same batches to every method, and with
        ``bucketing`` the same captions in an epoch's windows, in other batches of them. Without
        ``shuffle`` images come in their stored order. What is ``resident`` is gathered on the device.

        Raises:
            HarnessError: The batch is larger than the data.
        """
        order, first, counts = self._captions_by_image
        captioned = np.flatnonzero(counts)
        n = len(captioned)
        check_batch_size(batch_size, n)
        epoch = 0
        while True:
            rng = stream(seed, "data order", epoch)
            images = captioned[rng.permutation(n)] if shuffle else captioned
            captions = order[first[images] + (rng.random(n) * counts[images]).astype(np.int64)]
            if self.bucketing:
                taken = self.bucketing.order(captions, batch_size, rng)
                images, captions = images[taken], captions[taken]
            for start in range(0, n - batch_size + 1, batch_size):
                chosen = slice(start, start + batch_size)
                at = images[chosen].astype(np.int64), captions[chosen].astype(np.int64)
                yield Batch(*at, split=self, device=torch.device(device), resident=resident)
            epoch += 1


@dataclass(frozen=True)
class Batch:
    """One training batch: positions in a Split, and the embeddings there.

    Attributes:
        images: Image positions.
        captions: Caption positions; the caption at place i belongs to the image at place i.
        split: Where they are positions.
        device: Where the embeddings are put.
        resident: Embeddings that are on the device already.
    """

    images: Int64[np.ndarray, " batch"]
    captions: Int64[np.ndarray, " batch"]
    split: Split
    device: torch.device
    resident: Resident | None = field(default=None, repr=False)
    _read: dict[tuple[str, str], Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, encoder: str) -> Float[Tensor, "batch dim"]:
        """This image encoder's rows, on the device; read once for all pairs of a step."""
        return self._rows("image", encoder)

    def text(self, encoder: str) -> Float[Tensor, "batch dim"]:
        """The same of a text encoder."""
        return self._rows("text", encoder)

    def tokens(self, model: str) -> Int64[Tensor, "batch tokens"]:
        """A language model's tokens of the captions."""
        return self._rows("tokens", model)

    def longest(self, model: str) -> int:
        """Tokens of the longest caption of the batch, as a language model counts them."""
        return int(self.split.lengths(model)[self.captions].max())

    def sides(self, pair: Pair, direction: Direction) -> tuple[Float[Tensor, "batch in"], Float[Tensor, "batch out"]]:
        """(what the connector maps, what it should land on), on the device."""
        image, text = self.image(pair[0]), self.text(pair[1])
        return (text, image) if direction == "text_to_image" else (image, text)

    def _rows(self, modality: str, encoder: str) -> Tensor:
        key = (modality, encoder)
        if key not in self._read:
            split, of_image = self.split, modality == "image"
            read = partial({"image": split.images, "text": split.texts, "tokens": split.tokens}[modality], encoder)
            at, count = (self.images, len(split.image_rows)) if of_image else (self.captions, len(split.caption_rows))
            if self.resident:
                self._read[key] = self.resident.rows(key, at, count, read)
            else:
                self._read[key] = read(at).to(self.device, non_blocking=True)
        return self._read[key]


def check_batch_size(batch_size: int, images: int) -> None:
    """Refuse a batch that is larger than the training data.

    Raises:
        HarnessError: It is.
    """
    if batch_size > images:
        raise HarnessError(
            f"batch_size {batch_size} is larger than the {images} training images",
            fix=f"set batch_size to {images} or less",
        )
