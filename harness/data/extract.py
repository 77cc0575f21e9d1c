"""Extraction: a dataset's images or captions, once through an encoder, into a bank.

Rows are embedded part by part. A finished part is a file, so an interrupted extraction goes on where it stopped, and
its bank is the same, byte for byte, as that of an undisturbed one: batches never cross a part's border. A bank of some
rows only is extended later; where its parts end elsewhere, rows agree to rounding.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from harness.contract.files import write_atomic, writing
from harness.contract.record import Latency
from harness.contract.registry import near
from harness.contract.sealed import sealed
from harness.data.bank import (
    EMBEDDINGS,
    META,
    Bank,
    BankDtype,
    BankMeta,
    bank_identity,
    bank_path,
    open_bank,
    stored_as,
)
from harness.data.base import Dataset
from harness.data.locks import only_one
from harness.data.partial import PartialBank
from harness.data.parts import PARTS, PartNotes, Parts, Rows, SourceNotes, divided
from harness.encoders.base import EncoderInfo, EncoderSpec, HasWeights, Modality, scheme_of
from harness.errors import HarnessError

Progress = Callable[[int, int], None]
Saved = Callable[[Path], object]
Embed = Callable[[Sequence[Rows]], Iterator[np.ndarray]]
"""Batches of rows, in order -> what the encoder makes of each."""
ROWS_AT_ONCE = 65536
"""Rows that are copied at once when parts are joined."""
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
    if modality != "tokens" and spec.dim not in (None, info.dim):
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
    """The whole bank of this dataset and encoder: the one on disk if it is there, else what is missing extracted now.

    Rows are L2-normalised. A row that is all zero (e.g. a caption without a word that the encoder knows) stays zero
    and is counted in the bank's ``zero_rows``.

    Args:
        dataset: The dataset.
        spec: The encoder.
        modality: Which side of the dataset.
        storage: Folder that holds ``banks/``.
        dtype: How rows are stored.
        batch_size: Samples per call of the encoder.
        shard_rows: Rows per part that an interrupted extraction keeps.
        device: Where the encoder computes.
        progress: Called with (rows done, rows wanted).

    Raises:
        HarnessError: No rows, an encoder that cannot be loaded, rows of a wrong shape, NaN or infinity in a row.
    """
    bank = extract_rows(
        dataset,
        spec,
        modality,
        storage,
        None,
        dtype=dtype,
        batch_size=batch_size,
        shard_rows=shard_rows,
        device=device,
        progress=progress,
    )
    assert isinstance(bank, Bank), "all rows were asked for"
    return bank


def extract_rows(
    dataset: Dataset,
    spec: EncoderSpec,
    modality: Modality,
    storage: Path,
    rows: Rows | None,
    *,
    dtype: BankDtype = "float32",
    batch_size: int = 64,
    shard_rows: int = 4096,
    device: str = "cpu",
    progress: Progress | None = None,
    saved: Saved | None = None,
) -> Bank | PartialBank:
    """A bank that holds these rows at least (None: all), extended without redoing a row that is there.

    See ``extract``; ``saved`` is told of every part that an encoder has been run for, once it is there.
    """
    info, dtype = describe(dataset, spec, modality), stored_as(modality, dtype)
    count = dataset.index().count(modality)
    path = bank_path(storage, dataset.name, dataset.digest, info, dtype)
    if count == 0:
        raise HarnessError(f"{dataset.name} has no {'images' if modality == 'image' else 'captions'} to embed")
    whole = np.arange(count, dtype=np.int64)
    # Nothing runs for embeddings that the dataset brings itself, so there is nothing to save by taking a part.
    wanted = whole if rows is None or dataset.own_encoders(modality) is not None else np.unique(rows)
    report = progress or (lambda done, total: None)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    parts = Parts(path / PARTS, info.dim, dtype)
    with only_one(path):
        if (path / META).is_file():
            report(len(wanted), len(wanted))
            return open_bank(path, identity=bank_identity(dataset.digest, info, dtype))
        source = _fill(parts, info, wanted, dataset, spec, batch_size, shard_rows, device, report, saved)
        if len(parts.missing(whole)):
            return PartialBank(path, info.dim, dtype)
        _join(parts, info, path, dataset, source, _latency(parts, batch_size, device))
    return open_bank(path, verify=False)


def _fill(
    parts: Parts,
    info: EncoderInfo,
    wanted: Rows,
    dataset: Dataset,
    spec: EncoderSpec,
    batch_size: int,
    shard_rows: int,
    device: str,
    report: Progress,
    saved: Saved | None,
) -> SourceNotes:
    """Embed the wanted rows that are missing."""
    before, missing = parts.source, parts.missing(wanted)
    if not len(missing) and before:
        report(len(wanted), len(wanted))
        return before
    seconds: list[float] = []
    embed, source = _source(info, dataset, spec, device, seconds)
    parts.begin(source)
    missing = parts.missing(wanted)
    done = len(wanted) - len(missing)
    report(done, len(wanted))
    if dataset.own_encoders(info.modality) is not None:
        batch_size = shard_rows  # nothing runs, so there is no batch to keep small
    divided_rows = [(rows, divided(rows, batch_size)) for rows in divided(missing, shard_rows)]
    embedded = embed([batch for _, batches in divided_rows for batch in batches])
    for rows, batches in divided_rows:
        began = time.perf_counter()
        made = []
        seconds.clear()
        for batch in batches:
            found = _checked(next(embedded), batch, info)
            made.append((found if info.modality == "tokens" else normalise(found)).astype(parts.dtype))
            report(done := done + len(batch), len(wanted))
        took = PartNotes(seconds=time.perf_counter() - began, batches={device: list(seconds)})
        part = parts.add(rows, np.concatenate(made), took)
        if saved is not None and dataset.own_encoders(info.modality) is None:
            saved(part)
    return source


def _source(
    info: EncoderInfo, dataset: Dataset, spec: EncoderSpec, device: str, seconds: list[float]
) -> tuple[Embed, SourceNotes]:
    """How to embed batches of rows, and by what; each batch appends its seconds per sample."""
    if dataset.own_encoders(info.modality) is not None:

        def own(batches: Sequence[Rows]) -> Iterator[np.ndarray]:
            for rows in batches:
                first = int(rows[0])  # rows of a part that was lost may stand apart from the others
                yield dataset.embeddings(info.id, info.modality, first, int(rows[-1]) + 1)[rows - first]

        return own, SourceNotes(flops=info.flops_per_sample)
    encoder = scheme_of(spec).load(spec, info.modality, device=device)
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


def _latency(parts: Parts, batch_size: int, device: str) -> Latency | None:
    """Median over the batches that this device has run, in this attempt or those before; None where nothing ran."""
    seconds = parts.latency(device)
    return None if seconds is None else Latency(seconds_per_sample=seconds, batch_size=batch_size, device=device)


def _join(
    parts: Parts, info: EncoderInfo, path: Path, dataset: Dataset, source: SourceNotes, latency: Latency | None
) -> None:
    """Parts -> ``embeddings.npy``, then ``meta.json``, then the parts go."""
    sha, zero_rows = hashlib.sha256(), 0
    count = dataset.index().count(info.modality)
    header = io.BytesIO()
    spec = {"descr": np.dtype(parts.dtype).str, "fortran_order": False, "shape": (count, info.dim)}
    np.lib.format.write_array_header_1_0(header, spec)
    temporary = path / f".{EMBEDDINGS}.{uuid.uuid4().hex}.tmp"
    try:
        with writing(path / EMBEDDINGS), temporary.open("wb") as out:
            sha.update(header.getvalue())
            out.write(header.getvalue())
            for block in parts.held().blocks(np.arange(count, dtype=np.int64), ROWS_AT_ONCE):
                zero_rows += int((~block.any(axis=1)).sum())
                data = np.ascontiguousarray(block).tobytes()
                sha.update(data)
                out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path / EMBEDDINGS)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    facts = bank_facts(dataset, info, parts.dtype)
    meta = facts.model_copy(
        update={
            "digest": sha.hexdigest(),
            "count": count,
            "zero_rows": zero_rows,
            "encode_flops": None if source.flops is None else source.flops * count,
            "encode_seconds": parts.seconds(),
            "latency": latency,
            "weights": source.weights,
            "packages": _packages(),
        }
    )
    write_atomic(path / META, sealed(meta))
    shutil.rmtree(parts.folder, ignore_errors=True)


def bank_facts(dataset: Dataset, info: EncoderInfo, dtype: BankDtype) -> BankMeta:
    """What a bank's description says before anything has been measured: no rows, no digest."""
    return BankMeta(
        identity=bank_identity(dataset.digest, info, dtype),
        digest="",
        count=0,
        dim=info.dim,
        dtype=dtype,
        modality=info.modality,
        encoder=info.id,
        revision=info.revision,
        transform=info.transform,
        params=info.params,
        license=info.license,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
    )


def _packages() -> dict[str, str]:
    """Versions of the packages that are loaded, so may have had a part in the numbers."""
    found = {}
    for package in _PACKAGES:
        if _MODULES.get(package, package.replace("-", "_")) in sys.modules:
            with contextlib.suppress(PackageNotFoundError):
                found[package] = version(package)
    return found
