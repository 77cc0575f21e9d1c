"""Files: written whole or not at all, and named by paths that are relative to the sweep file."""

import os
import uuid
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    The temporary file lies beside the final one and its name never ends in ``.json``, so that nobody who lists the
    folder takes it for a record.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk: else a name may be lost with the machine, though its data is not."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _resolve(path: Path, info: ValidationInfo) -> Path:
    root = (info.context or {}).get("root", Path.cwd())
    return path.expanduser() if path.expanduser().is_absolute() else (Path(root) / path).resolve()


SweepPath = Annotated[Path, AfterValidator(_resolve)]
"""A path relative to the sweep file; validated with ``context={"root": folder of the sweep file}``."""
