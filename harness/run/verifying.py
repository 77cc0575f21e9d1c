"""Comparing everything that a run rests on with its checksums: records, files, banks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from harness.data.bank import META, folders_of, slugs_of
from harness.data.healing import damages
from harness.data.mirror import damages_in
from harness.errors import Damaged, HarnessError
from harness.run.records import Manifest
from harness.run.store import RunStore
from harness.storage.bucket import BucketBlobs
from harness.storage.places import bucket_at, is_url


@dataclass
class Verified:
    """What was compared.

    Attributes:
        cells: Records.
        files: Ranks and connectors of these.
        unsealed: Cells of an older version, whose files carry no checksums: only what cannot be parsed is noticed.
        banks: Banks, also unfinished ones.
        damaged: What is not what was written.
    """

    cells: int = 0
    files: int = 0
    unsealed: int = 0
    banks: int = 0
    damaged: list[Damaged] = field(default_factory=list)


def verify_run(store: RunStore) -> Verified:
    """Read and compare everything: the plan, every record (also of cells that the plan does not have), every file.

    Args:
        store: The run.

    Raises:
        HarnessError: No run here, or one of another schema.
    """
    found = Verified()
    manifest: Manifest | None = None
    try:
        manifest = store.manifest()
    except Damaged as damage:
        found.damaged.append(damage)
    planned = {cell.key: cell for cell in manifest.cells} if manifest else {}
    sizes = store.blobs.sizes("cells/") | store.blobs.sizes("connectors/")
    for key in sorted(store.finished()):
        found.cells += 1
        try:
            record = store.record(key, planned.get(key))
            found.files += len(record.files)
            found.unsealed += not record.files and record.status == "done"
            found.damaged += store.damaged_files(record, sizes, connectors=True)
        except Damaged as damage:
            found.damaged.append(damage)
    if is_url(store.where):
        storage = bucket_at(store.where.rpartition("/")[0])
        banks = [partial(damages_in, storage, name, anew=True) for name in _banks_in(manifest, storage)]
    else:
        folders = _banks(manifest, Path(store.where).parent)
        banks = [partial(damages, folder, anew=True) for folder in folders]
    for damages_of in banks:
        found.banks += 1
        try:
            found.damaged += damages_of()
        except HarnessError as error:  # what was written holds NaN
            found.damaged.append(Damaged(error.what, where=error.where, fix=error.fix))
    return found


def _banks_in(manifest: Manifest | None, storage: BucketBlobs) -> list[str]:
    """The same in a bucket: what the names of their blobs begin with. Parts of unfinished banks are not compared."""
    names = [name.removesuffix(f"/{META}") for name in storage.list("banks/") if name.endswith(f"/{META}")]
    if manifest is None:
        return sorted(names)
    wanted = [
        slugs_of(name.removesuffix(f" {bank.modality} {bank.encoder}"), bank.modality, bank.encoder)
        for name, bank in manifest.banks.items()
    ]
    return sorted(name for name in names if any(fnmatchcase(name, f"banks/{slugs}") for slugs in wanted))


def _banks(manifest: Manifest | None, storage: Path) -> Iterator[Path]:
    """Folders of the banks that the run was made from; of all banks where its plan cannot be read."""
    if manifest is None:
        yield from sorted(path for path in (storage / "banks").glob("*/*") if path.is_dir())
        return
    for name, bank in manifest.banks.items():
        dataset = name.removesuffix(f" {bank.modality} {bank.encoder}")
        for folder in folders_of(storage, dataset, bank.modality, bank.encoder):
            if (folder / META).is_file() or any(folder.glob("parts/*.npy")):
                yield folder
