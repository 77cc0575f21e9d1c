"""Files: written whole or not at all, and named by paths that are relative to the sweep file."""

import errno
import os
import tokenize
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from harness.errors import StorageFailed

UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    KeyError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises for an array file that is not whole, according to where it is not."""

AGAIN = "the same command goes on where this one stopped"
FULL, CLOSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), (errno.EROFS, errno.EACCES, errno.EPERM)
GONE = (errno.ENOENT, errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.EHOSTDOWN)


def storage_failed(error: OSError, path: Path) -> StorageFailed:
    """What a user can do about a file that cannot be written, in one line."""
    told = (error.strerror or str(error)).lower()
    if error.errno in FULL:
        return StorageFailed(f"the disk is full ({told})", where=str(path), fix=f"free some space; {AGAIN}")
    if error.errno in CLOSED:
        fix = f"make it writable, or give another --storage; {AGAIN}"
        return StorageFailed(f"the storage cannot be written ({told})", where=str(path), fix=fix)
    if error.errno in GONE:
        fix = f"mount it again; {AGAIN}"
        return StorageFailed(f"the storage has vanished ({told})", where=str(path), fix=fix)
    return StorageFailed(f"cannot be written: {error.strerror or error}", where=str(path), fix=AGAIN)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says while a file is written into ``StorageFailed``.

    Raises:
        StorageFailed: An ``OSError`` came up.
    """
    try:
        yield
    except OSError as error:
        raise storage_failed(error, path) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    The temporary file lies beside the final one and its name never ends in ``.json``, so that nobody who lists the
    folder takes it for a record.

    Raises:
        StorageFailed: It cannot be written; what was there before still is.
    """
    with writing(path):
        write_whole(path, data)


def write_whole(path: Path, data: bytes) -> None:
    """``write_atomic`` that raises what the system says.

    Raises:
        OSError: It cannot be written; what was there before still is.
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
        with suppress(OSError):  # on a storage that has vanished; what went wrong first is the story
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


def _resolve_pattern(pattern: str, info: ValidationInfo) -> str:
    return str(_resolve(Path(pattern), info))


SweepPattern = Annotated[str, AfterValidator(_resolve_pattern)]
"""A pattern of file names (``train-*.tar``), relative to the sweep file in the same way."""


def _folder_or_name(name: str, info: ValidationInfo) -> str:
    folder = _resolve(Path(name), info)
    return str(folder) if folder.is_dir() or name.startswith((".", "/", "~")) else name


FolderOrName = Annotated[str, AfterValidator(_folder_or_name)]
"""A folder relative to the sweep file, made absolute; or else a name that is no folder's, left as it is."""
