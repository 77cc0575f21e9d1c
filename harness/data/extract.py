"""Extraction: a dataset's images or captions, once through an encoder, into a bank.

Rows are embedded shard by shard. A finished shard is a file, so an interrupted extraction goes on where it stopped, and
its bank is the same, byte for byte, as that of an undisturbed one: batches never cross a shard's border.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shutil
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from harness.contract.files import write_atomic
from harness.contract.record import Latency, Record
from harness.contract.registry import near
from harness.data.bank import EMBEDDINGS, META, Bank, BankDtype, BankMeta, bank_identity, bank_path, open_bank
from harness.data.base import Dataset
from harness.encoders.base import EncoderInfo, EncoderSpec, HasWeights, Modality, scheme_of
from harness.errors import HarnessError

Progress = Callable[[int, int], None]
Rows = Callable[[int, int], np.ndarray]
_PACKAGES = ("numpy", "torch", "timm", "open_clip_torch", "sentence-transformers", "transformers", "tokenizers")
_PACKAGES += ("onnxruntime", "torchvision", "pillow", "safetensors")
_MODULES = {"open_clip_torch": "open_clip", "pillow": "PIL"}


def describe(dataset: Dataset, spec: EncoderSpec, modality: Modality) -> EncoderInfo:
    """What is known of an encoder before it runs: the dataset's own one, or what its scheme says.

    Raises:
        HarnessError: No such encoder, or its dimension is not what the sweep file says.
    """
    own = dataset.own_encoders(modality)
    if own is None:
        info = scheme_of(spec).describe(spec, modality)
    elif spec.id in own:
        info = own[spec.id]
    else:
        raise HarnessError(f"{dataset.name} brings no {modality} encoder {spec.id!r}", fix=near(spec.id, own))
    if spec.dim is not None and spec.dim != info.dim:
        raise HarnessError(f"encoder {spec.id!r} has dimension {info.dim}, the sweep file says {spec.dim}")
    stated: dict[str, Any] = {
        "params": None if spec.params is None else int(spec.params),
        "license": spec.license,
        "flops_per_sample": spec.flops_per_sample,
        "seconds_per_sample": spec.seconds_per_sample,
    }
    news = {name: value for name, value in stated.items() if value is not None and getattr(info, name) is None}
    return dataclasses.replace(info, **news) if news else info


def extract(
    dataset: Dataset,
    spec: EncoderSpec,
    modality: Modality,
    storage: Path,
    *,
    dtype: BankDtype = "float32",
    batch_size: int = 64,
    shard_rows: int = 4096,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Bank:
    """The bank of this dataset and encoder: the one on disk if it is there, else extracted now.

    Rows are L2-normalised. A row that is all zero (e.g. a caption without a word that the encoder knows) stays zero
    and is counted in the bank's ``zero_rows``.

    Args:
        dataset: The dataset.
        spec: The encoder.
        modality: Which side of the dataset.
        storage: Folder that holds ``banks/``.
        dtype: How rows are stored.
        batch_size: Samples per call of the encoder.
        shard_rows: Rows per file that an interrupted extraction keeps.
        device: Where the encoder computes.
        progress: Called with (rows done, all rows).

    Raises:
        HarnessError: No rows, an encoder that cannot be loaded, rows of a wrong shape, NaN or infinity in a row.
    """
    info = describe(dataset, spec, modality)
    count = dataset.index().count(modality)
    path = bank_path(storage, dataset.name, dataset.digest, info, dtype)
    if count == 0:
        raise HarnessError(f"{dataset.name} has no {'images' if modality == 'image' else 'captions'} to embed")
    report = progress or (lambda done, total: None)
    path.mkdir(parents=True, exist_ok=True)
    with _only_one(path):
        if (path / META).is_file():
            report(count, count)
            return open_bank(path)
        work = _Work(path / f"shards-{shard_rows}-{batch_size}", info, count, shard_rows, dtype)
        source = _fill(work, dataset, spec, batch_size, device, report)
        _join(work, path, dataset, source, _latency(work, batch_size, device))
    return open_bank(path, verify=False)


class _SourceNotes(Record):
    """What makes the rows of a bank that is not finished; kept beside its shards.

    Attributes:
        flops: FLOPs of one sample, if known.
        weights: Digest of the encoder's weights.
    """

    flops: float | None = None
    weights: str = ""


@dataclasses.dataclass(frozen=True)
class _Work:
    """Shards of a bank in the making."""

    folder: Path
    info: EncoderInfo
    count: int
    shard_rows: int
    dtype: BankDtype

    def shards(self) -> Iterator[tuple[Path, int, int]]:
        """(file, first row, row after the last) of every shard."""
        for number, start in enumerate(range(0, self.count, self.shard_rows)):
            yield self.folder / f"shard-{number:05d}.npy", start, min(start + self.shard_rows, self.count)

    def missing(self) -> list[tuple[Path, int, int]]:
        """Shards that are not there, or not whole."""
        return [shard for shard in self.shards() if self.read(shard[0], shard[2] - shard[1]) is None]

    def read(self, file: Path, rows: int) -> np.ndarray | None:
        """A finished shard, or None."""
        try:
            array = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return array if array.shape == (rows, self.info.dim) and array.dtype == np.dtype(self.dtype) else None


def _fill(
    work: _Work, dataset: Dataset, spec: EncoderSpec, batch_size: int, device: str, report: Progress
) -> _SourceNotes:
    """Embed the shards that are missing."""
    missing = work.missing()
    notes = work.folder / "source.json"
    before = _read_notes(notes)
    if not missing and before:
        report(work.count, work.count)
        return before
    seconds: list[float] = []
    embed, source = _source(work.info, dataset, spec, device, seconds)
    if before and before.weights != source.weights:  # another revision since: its rows must not stand beside these
        for file, _, _ in work.shards():
            file.unlink(missing_ok=True)
        missing = work.missing()
    done = work.count - sum(stop - start for _, start, stop in missing)
    report(done, work.count)
    if dataset.own_encoders(work.info.modality) is not None:
        batch_size = work.shard_rows  # nothing runs, so there is no batch to keep small
    write_atomic(notes, source.model_dump_json().encode())
    for file, start, stop in missing:
        began = time.perf_counter()
        parts = []
        seconds.clear()
        for first in range(start, stop, batch_size):
            last = min(first + batch_size, stop)
            parts.append(normalise(_checked(embed(first, last), first, last, work.info)).astype(work.dtype))
            report(done := done + last - first, work.count)
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(parts), allow_pickle=False)
        write_atomic(file.with_suffix(".seconds"), str(time.perf_counter() - began).encode())
        write_atomic(file.with_suffix(".batches"), json.dumps({device: seconds}).encode())
        write_atomic(file, buffer.getvalue())
    return source


def _read_notes(file: Path) -> _SourceNotes | None:
    try:
        return _SourceNotes.model_validate_json(file.read_bytes())
    except (OSError, ValueError):
        return None


def _source(
    info: EncoderInfo, dataset: Dataset, spec: EncoderSpec, device: str, seconds: list[float]
) -> tuple[Rows, _SourceNotes]:
    """How to embed rows [start, stop), and by what; each batch appends its seconds per sample."""
    if dataset.own_encoders(info.modality) is not None:
        notes = _SourceNotes(flops=info.flops_per_sample)
        return lambda start, stop: dataset.embeddings(info.id, info.modality, start, stop), notes
    encoder = scheme_of(spec).load(spec, info.modality, device=device)
    flops = encoder.forward_flops()
    weights = encoder.weights_digest() if isinstance(encoder, HasWeights) else ""
    notes = _SourceNotes(flops=info.flops_per_sample if flops is None else flops, weights=weights)

    def timed(samples: Any) -> np.ndarray:
        # From PIL image or string to array, so with the encoder's own preprocessing and without reading files.
        began = time.perf_counter()
        rows = encoder.encode(samples)
        seconds.append((time.perf_counter() - began) / max(len(samples), 1))
        return rows

    count = dataset.index().count(info.modality)
    stream: dict[str, Any] = {"at": -1, "samples": iter(())}

    def embed(start: int, stop: int) -> np.ndarray:
        # One stream over neighbouring batches, so that a dataset which reads ahead or in order can.
        if stream["at"] != start:
            stream["samples"] = iter(dataset.samples(info.modality, range(start, count)))
        stream["at"] = stop
        return timed(list(islice(stream["samples"], stop - start)))

    return embed, notes


def _checked(rows: np.ndarray, start: int, stop: int, info: EncoderInfo) -> np.ndarray:
    """The rows, if they are what the encoder promised.

    Raises:
        HarnessError: Another shape, NaN or infinity (with the row).
    """
    where = f"{info.modality} encoder {info.id!r}"
    if rows.shape != (stop - start, info.dim):
        raise HarnessError(f"gave {list(rows.shape)} for rows {start} to {stop - 1} of {info.dim} columns", where=where)
    if not np.issubdtype(rows.dtype, np.floating):
        raise HarnessError(f"gave {rows.dtype} values, not floats", where=where)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        row = start + int(bad.argmax())
        raise HarnessError(f"row {row} holds NaN or infinity", where=where, fix="repair or drop that row")
    return rows


def normalise(rows: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
    """Rows of L2 norm 1, float32; a zero row stays zero."""
    # float64, divided by the largest entry first: squares of huge or tiny values do not overflow or vanish.
    wide = rows.astype(np.float64)
    wide /= np.maximum(np.abs(wide).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _latency(work: _Work, batch_size: int, device: str) -> Latency | None:
    """Median over the batches that this device has run, in this attempt or those before; None where nothing ran."""
    seconds: list[float] = []
    for file, _, _ in work.shards():
        with contextlib.suppress(OSError, ValueError):
            seconds += json.loads(file.with_suffix(".batches").read_text(encoding="ascii")).get(device, [])
    if not seconds:
        return None
    return Latency(seconds_per_sample=statistics.median(seconds), batch_size=batch_size, device=device)


def _join(work: _Work, path: Path, dataset: Dataset, source: _SourceNotes, latency: Latency | None) -> None:
    """Shards -> ``embeddings.npy``, then ``meta.json``, then the shards go."""
    sha, zero_rows, seconds = hashlib.sha256(), 0, 0.0
    header = io.BytesIO()
    spec = {"descr": np.dtype(work.dtype).str, "fortran_order": False, "shape": (work.count, work.info.dim)}
    np.lib.format.write_array_header_1_0(header, spec)
    temporary = path / f".{EMBEDDINGS}.{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("wb") as out:
            for block in _blocks(work, header.getvalue()):
                data = block if isinstance(block, bytes) else np.ascontiguousarray(block).tobytes()
                if not isinstance(block, bytes):
                    zero_rows += int((~block.any(axis=1)).sum())
                sha.update(data)
                out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path / EMBEDDINGS)
    finally:
        temporary.unlink(missing_ok=True)
    for file, _, _ in work.shards():
        with contextlib.suppress(OSError, ValueError):
            seconds += float(file.with_suffix(".seconds").read_text(encoding="ascii"))
    info = work.info
    meta = BankMeta(
        identity=bank_identity(dataset.digest, info, work.dtype),
        digest=sha.hexdigest(),
        count=work.count,
        dim=info.dim,
        dtype=work.dtype,
        zero_rows=zero_rows,
        modality=info.modality,
        encoder=info.id,
        revision=info.revision,
        transform=info.transform,
        params=info.params,
        license=info.license,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        encode_flops=None if source.flops is None else source.flops * work.count,
        encode_seconds=seconds,
        latency=latency,
        weights=source.weights,
        packages=_packages(),
    )
    write_atomic(path / META, meta.model_dump_json(indent=1).encode())
    for leftover in path.glob("shards-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _blocks(work: _Work, header: bytes) -> Iterator[bytes | np.ndarray]:
    yield header
    for file, start, stop in work.shards():
        array = work.read(file, stop - start)
        if array is None:
            raise HarnessError(
                "a shard vanished while the bank was joined", where=str(file), fix="run harness embed again"
            )
        yield array


def _packages() -> dict[str, str]:
    """Versions of the packages that are loaded, so may have had a part in the numbers."""
    found = {}
    for package in _PACKAGES:
        if _MODULES.get(package, package.replace("-", "_")) in sys.modules:
            with contextlib.suppress(PackageNotFoundError):
                found[package] = version(package)
    return found


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the bank's lock: a second process waits for the first and then finds its bank.

    Where the system has no such lock, two processes do the same work; every file is still replaced whole.
    """
    with (path / ".lock").open("w") as file:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
