"""Banks: stored, L2-normalised embeddings of one dataset by one encoder, memory-mapped by whoever reads them.

A bank is a folder ``banks/<dataset>/<modality>-<encoder>-<dtype>-<identity>`` that holds ``embeddings.npy`` and
``meta.json``.
"""

import contextlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64, Num
from pydantic import ValidationError

from harness.contract.files import write_atomic
from harness.contract.record import Latency, Record
from harness.data.digests import digest_file, digest_json, stamp
from harness.encoders.base import EncoderInfo, Modality
from harness.errors import HarnessError

BankDtype = Literal["float32", "float16", "int32"]
"""How rows are stored; ``int32`` only tokens, and tokens only so."""
EMBEDDINGS, META, VERIFIED = "embeddings.npy", "meta.json", "verified.json"
REDO = "delete the folder and run harness embed again"


class BankMeta(Record):
    """What ``meta.json`` says of a bank.

    Attributes:
        identity: sha256 of what decides the numbers; see ``bank_identity``.
        digest: sha256 of ``embeddings.npy``.
        count: Rows.
        dim: Columns.
        dtype: ``float32`` or ``float16``.
        zero_rows: Rows that the encoder left empty (e.g. a caption without a known word); they stay zero.
        modality: ``image`` or ``text``.
        encoder: Encoder id.
        revision: Changes with the weights or options of the encoder.
        transform: The encoder's preprocessing.
        params: Parameter count, if known.
        license: Licence of the weights, if known.
        dataset: Name of the dataset.
        dataset_digest: Digest of its rows.
        encode_flops: FLOPs of embedding all rows, if known.
        encode_seconds: Seconds of embedding all rows, over all interrupted attempts.
        latency: What one sample took, measured on the way; None for banks that nothing was run for, or made before it
            was measured.
        weights: Digest of the encoder's weights as they were loaded: what a revision that is not pinned meant then;
            empty where nothing was loaded or the revision says it.
        packages: Versions of the packages that took part.
    """

    schema_version: int = 1
    identity: str
    digest: str
    count: int
    dim: int
    dtype: BankDtype
    zero_rows: int = 0
    modality: Modality
    encoder: str
    revision: str
    transform: str
    params: int | None = None
    license: str | None = None
    dataset: str
    dataset_digest: str
    encode_flops: float | None = None
    encode_seconds: float = 0.0
    latency: Latency | None = None
    weights: str = ""
    packages: dict[str, str] = {}


@dataclass(frozen=True)
class Bank:
    """One bank. Holds a path only: pickling it copies nothing, every process maps the same pages of the file.

    Attributes:
        path: The bank's folder.
    """

    path: Path

    @cached_property
    def meta(self) -> BankMeta:
        """What the bank holds.

        Raises:
            HarnessError: There is no finished bank here, or its description is damaged.
        """
        file = self.path / META
        if not file.is_file():
            raise HarnessError("no bank here", where=str(self.path), fix="run harness embed")
        try:
            return BankMeta.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise HarnessError(f"damaged: {error.errors()[0]['msg']}", where=str(file), fix=REDO) from error

    @cached_property
    def array(self) -> Num[np.ndarray, "count dim"]:
        """All rows, read-only and memory-mapped, in the stored dtype.

        Raises:
            HarnessError: The file is missing, or not of the described shape and dtype.
        """
        file, expected = self.path / EMBEDDINGS, (self.meta.count, self.meta.dim)
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise HarnessError(f"cannot be read: {error}", where=str(file), fix=REDO) from error
        if array.shape != expected or array.dtype != np.dtype(self.meta.dtype):
            found = f"{array.dtype}{list(array.shape)}"
            raise HarnessError(
                f"holds {found}, {META} says {self.meta.dtype}{list(expected)}", where=str(file), fix=REDO
            )
        return array

    def take(self, rows: Int64[np.ndarray, " rows"]) -> Num[np.ndarray, "rows dim"]:
        """A copy of these rows, in this order: float32, or int32 of tokens."""
        return np.asarray(self.array[rows], dtype=np.int32 if self.meta.dtype == "int32" else np.float32)

    def __reduce__(self) -> tuple[type["Bank"], tuple[Path]]:
        return (Bank, (self.path,))


def stored_as(modality: Modality, asked: BankDtype) -> BankDtype:
    """How rows of this modality are stored where the sweep asks for a dtype of embeddings."""
    return "int32" if modality == "tokens" else asked


def bank_identity(dataset_digest: str, info: EncoderInfo, dtype: BankDtype = "float32") -> str:
    """sha256 (hex) of what decides a bank's numbers, known before anything is extracted. Part of cell keys."""
    return digest_json(
        {
            "dataset": dataset_digest,
            "modality": info.modality,
            "encoder": info.id,
            "revision": info.revision,
            "transform": info.transform,
            "dtype": dtype,
        }
    )


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "unnamed"


def bank_path(
    storage: Path, dataset_name: str, dataset_digest: str, info: EncoderInfo, dtype: BankDtype = "float32"
) -> Path:
    """The bank's folder: readable, and unique through the first letters of its identity."""
    identity = bank_identity(dataset_digest, info, dtype)
    folder = f"{info.modality}-{_slug(info.id)}-{dtype}-{identity[:12]}"
    return Path(storage).absolute() / "banks" / _slug(dataset_name) / folder


_verified: set[tuple[str, int, int, str]] = set()


def open_bank(path: Path, verify: bool = True) -> Bank:
    """Open a finished bank.

    Args:
        path: The bank's folder.
        verify: Also check the content against its digest and for NaN or infinity. The result is remembered next to
            the bank until the file changes, so that only the first opening reads it all.

    Raises:
        HarnessError: No bank, a damaged one, or content that is not what was written.
    """
    bank = Bank(Path(path))
    array, file = bank.array, bank.path / EMBEDDINGS
    if verify:
        _, size, modified = stamp(file)
        key = (str(file.absolute()), size, modified, bank.meta.digest)
        note, seen = bank.path / VERIFIED, {"size": size, "mtime_ns": modified, "digest": bank.meta.digest}
        if key not in _verified and _read_json(note) != seen:
            _check_content(array, file, bank.meta.digest)
            with contextlib.suppress(OSError):  # a read-only bank is checked once per process
                write_atomic(note, json.dumps(seen).encode())
        _verified.add(key)
    return bank


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _check_content(array: np.ndarray, file: Path, digest: str) -> None:
    if digest_file(file) != digest:
        raise HarnessError("content does not match its digest", where=str(file), fix=REDO)
    for start in range(0, len(array), 65536):
        bad = ~np.isfinite(array[start : start + 65536]).all(axis=1)
        if bad.any():
            row = start + int(bad.argmax())
            raise HarnessError(f"row {row} holds NaN or infinity", where=str(file), fix=REDO)
