"""Embedding rows of a dataset, part by part: in this process, or by whoever is given in its place."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Shaped

from harness.data.bank import BankDtype
from harness.data.base import Dataset
from harness.data.parts import PartNotes, Rows, SourceNotes, divided
from harness.encoders.base import EncoderInfo, EncoderSpec, HasWeights, scheme_of
from harness.errors import HarnessError

Embed = Callable[[Sequence[Rows]], Iterator[np.ndarray]]
"""Batches of rows, in order -> what the encoder makes of each."""

_PACKAGES = ("numpy", "torch", "timm", "open_clip_torch", "sentence-transformers", "transformers", "tokenizers")
_PACKAGES += ("onnxruntime", "torchvision", "pillow", "safetensors")
_MODULES = {"open_clip_torch": "open_clip", "pillow": "PIL"}


@dataclass(frozen=True)
class EmbeddingWork:
    """What is embedded, and how.

    Attributes:
        dataset: Whose rows.
        spec: The encoder as written.
        info: What is known of it.
        dtype: How rows are stored.
        batch_size: Samples per call of the encoder; batches never cross a part's border.
        device: Where the encoder computes.
    """

    dataset: Dataset
    spec: EncoderSpec
    info: EncoderInfo
    dtype: BankDtype
    batch_size: int
    device: str

    @property
    def brought(self) -> bool:
        """Whether the dataset brings the embeddings, so that nothing runs."""
        return self.dataset.own_encoders(self.info.modality) is not None


@dataclass(frozen=True)
class EmbeddedPart:
    """Rows that have been embedded.

    Attributes:
        rows: Their numbers, ascending.
        array: L2-normalised, as they are stored.
        notes: What it took.
    """

    rows: Rows
    array: Shaped[np.ndarray, "rows dim"]
    notes: PartNotes


class Embedder(Protocol):
    """Embeds rows of one bank."""

    @property
    def source(self) -> SourceNotes:
        """What the rows are made by."""
        ...

    def parts(self, wanted: Sequence[Rows], report: Callable[[int], None]) -> Iterator[EmbeddedPart]:
        """The rows of each part, in any order of parts.

        Args:
            wanted: Rows of each part.
            report: Is told how many rows have been embedded since it was last told.

        Raises:
            HarnessError: The encoder gives something else than it promised.
        """
        ...


OpenEmbedder = Callable[[EmbeddingWork], AbstractContextManager[Embedder]]
"""Makes what embeds the rows of one bank, to be used inside."""


def here(work: EmbeddingWork) -> AbstractContextManager[Embedder]:
    """Embed in this process."""
    return nullcontext(LocalEmbedder(work))


class LocalEmbedder:
    """Embeds in this process, in order. The encoder is loaded at once.

    Args:
        work: What is embedded.

    Raises:
        HarnessError: The encoder cannot be loaded.
    """

    def __init__(self, work: EmbeddingWork) -> None:
        self._work = work
        self._seconds: list[float] = []
        self._embed, source = _source(work, self._seconds)
        self.source = source.model_copy(update={"packages": loaded_packages()})

    def parts(self, wanted: Sequence[Rows], report: Callable[[int], None]) -> Iterator[EmbeddedPart]:
        """See ``Embedder``."""
        work = self._work
        batches_of = [[rows] if work.brought else divided(rows, work.batch_size) for rows in wanted]
        embedded = self._embed([batch for batches in batches_of for batch in batches])
        for rows, batches in zip(wanted, batches_of, strict=True):
            began = time.perf_counter()
            made = []
            self._seconds.clear()
            for batch in batches:
                found = _checked(next(embedded), batch, work.info)
                made.append((found if work.info.modality == "tokens" else normalise(found)).astype(work.dtype))
                report(len(batch))
            notes = PartNotes(seconds=time.perf_counter() - began, batches={work.device: list(self._seconds)})
            yield EmbeddedPart(rows, np.concatenate(made), notes)


def _source(work: EmbeddingWork, seconds: list[float]) -> tuple[Embed, SourceNotes]:
    """How to embed batches of rows, and by what; each batch appends its seconds per sample."""
    dataset, info = work.dataset, work.info
    if work.brought:

        def own(batches: Sequence[Rows]) -> Iterator[np.ndarray]:
            for rows in batches:
                first = int(rows[0])  # rows of a part that was lost may stand apart from the others
                yield dataset.embeddings(info.id, info.modality, first, int(rows[-1]) + 1)[rows - first]

        return own, SourceNotes(flops=info.flops_per_sample)
    encoder = scheme_of(work.spec).load(work.spec, info.modality, device=work.device)
    flops = encoder.forward_flops()
    weights = encoder.weights_digest() if isinstance(encoder, HasWeights) else ""
    notes = SourceNotes(flops=info.flops_per_sample if flops is None else flops, weights=weights)

    def embed(batches: Sequence[Rows]) -> Iterator[np.ndarray]:
        # One stream over all batches, so that a dataset which reads ahead or in order can.
        samples = iter(dataset.samples(info.modality, [int(row) for rows in batches for row in rows]))
        for rows in batches:
            batch: list[Any] = list(islice(samples, len(rows)))
            # From PIL image or string to array, so with the encoder's own preprocessing and without reading files.
            began = time.perf_counter()
            made = encoder.encode(batch)
            seconds.append((time.perf_counter() - began) / max(len(batch), 1))
            yield made

    return embed, notes


def _checked(rows: np.ndarray, numbers: Rows, info: EncoderInfo) -> np.ndarray:
    """The rows, if they are what the encoder promised.

    Raises:
        HarnessError: Another shape, NaN or infinity (with the row).
    """
    where = f"{info.modality} encoder {info.id!r}"
    if rows.shape != (len(numbers), info.dim):
        of = f"rows {numbers[0]} to {numbers[-1]} of {info.dim} columns"
        raise HarnessError(f"gave {list(rows.shape)} for {of}", where=where)
    wanted = np.integer if info.modality == "tokens" else np.floating
    if not np.issubdtype(rows.dtype, wanted):
        kind = "whole numbers" if info.modality == "tokens" else "floats"
        raise HarnessError(f"gave {rows.dtype} values, not {kind}", where=where)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        row = int(numbers[bad.argmax()])
        raise HarnessError(f"row {row} holds NaN or infinity", where=where, fix="repair or drop that row")
    return rows


def normalise(rows: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
    """Rows of L2 norm 1, float32; a zero row stays zero."""
    # float64, divided by the largest entry first: squares of huge or tiny values do not overflow or vanish.
    wide = rows.astype(np.float64)
    wide /= np.maximum(np.abs(wide).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def loaded_packages() -> dict[str, str]:
    """Versions of the packages that are loaded, so may have had a part in the numbers."""
    found = {}
    for package in _PACKAGES:
        if _MODULES.get(package, package.replace("-", "_")) in sys.modules:
            with contextlib.suppress(PackageNotFoundError):
                found[package] = version(package)
    return found
