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
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

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
from harness.data.embedding import EmbeddingWork, OpenEmbedder, here, loaded_packages
from harness.data.partial import PartialBank
from harness.data.parts import PARTS, Parts, Rows, SourceNotes, divided
from harness.encoders.base import EncoderInfo, EncoderSpec, Modality, scheme_of
from harness.errors import HarnessError

Progress = Callable[[int, int], None]
ROWS_AT_ONCE = 65536
"""Rows that are copied at once when parts are joined."""


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
    by: OpenEmbedder = here,
) -> Bank | PartialBank:
    """A bank that holds these rows at least (None: all), extended without redoing a row that is there.

    See ``extract``; ``by`` is what embeds the rows.
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
        work = EmbeddingWork(dataset, spec, info, dtype, batch_size, device)
        source = _fill(parts, work, by, wanted, shard_rows, report)
        if len(parts.missing(whole)):
            return PartialBank(path, info.dim, dtype)
        _join(parts, info, path, dataset, source, _latency(parts, batch_size, device))
    return open_bank(path, verify=False)


def _fill(
    parts: Parts, work: EmbeddingWork, by: OpenEmbedder, wanted: Rows, shard_rows: int, report: Progress
) -> SourceNotes:
    """Embed the wanted rows that are missing."""
    before, missing = parts.source, parts.missing(wanted)
    if not len(missing) and before:
        report(len(wanted), len(wanted))
        return before
    with (here if work.brought else by)(work) as embedder:
        parts.begin(embedder.source)
        missing = parts.missing(wanted)
        done = len(wanted) - len(missing)
        report(done, len(wanted))

        def more(rows: int) -> None:
            nonlocal done
            report(done := done + rows, len(wanted))

        for part in embedder.parts(divided(missing, shard_rows), more):
            parts.add(part.rows, part.array, part.notes)
        return embedder.source


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
            "packages": loaded_packages() | source.packages,
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


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the bank's lock: a second process waits for the first and then finds its bank.

    Where the system has no such lock, two processes do the same work; every file is still replaced whole.
    """
    with writing(path):
        file = (path / ".lock").open("w")
    with file:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
