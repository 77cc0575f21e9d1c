"""Comparing everything that a run rests on with its checksums: records, files, banks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.bank import META, folders_of
from harness.data.healing import damages
from harness.errors import Damaged, HarnessError
from harness.run.records import Manifest
from harness.run.store import RunStore


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
    for folder in _banks(manifest, Path(store.where).parent):
        found.banks += 1
        try:
            found.damaged += damages(folder, anew=True)
        except HarnessError as error:  # what was written holds NaN
            found.damaged.append(Damaged(error.what, where=error.where, fix=error.fix))
    return found


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
