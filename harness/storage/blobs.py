"""Where a run's bytes lie: named blobs under a few written guarantees.

Every implementation keeps these, and the run store relies on nothing else:

* ``put`` writes a blob whole or not at all. A reader sees the old content or the new, never a part of either.
* What ``put`` has returned from survives the death of the process and of the machine.
* ``put_new`` fails when the name exists already; of two at the same time exactly one succeeds.
* After ``put`` has returned, ``get``, ``exists`` and ``list`` of any process see the blob.
* Names are relative paths with ``/``, made of letters, digits and ``._-+``; no part is empty or starts with a dot.
"""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.contract.files import write_atomic, write_whole, writing
from harness.errors import HarnessError, StorageFailed

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
"""What a file system without links (a mounted bucket, say) answers."""

NAME = re.compile(r"[\w+-][\w.+-]*(/[\w+-][\w.+-]*)*")


class NoBlob(HarnessError):
    """There is no blob of this name."""


class BlobExists(HarnessError):
    """``put_new`` found the name taken."""


@runtime_checkable
class Blobs(Protocol):
    """Named bytes. See the module for what is guaranteed."""

    @property
    def where(self) -> str:
        """The place, as a user writes it: a folder or a URL."""
        ...

    def get(self, name: str) -> bytes:
        """The whole content.

        Raises:
            NoBlob: There is none of this name.
            HarnessError: It cannot be read.
        """
        ...

    def put(self, name: str, data: bytes) -> None:
        """Write or replace a blob, whole."""
        ...

    def put_new(self, name: str, data: bytes) -> None:
        """Write a blob that must not exist yet.

        Raises:
            BlobExists: It does.
        """
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a blob of this name."""
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Names that start with a prefix which ends in ``/`` (or all), in no order."""
        ...

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """The names that ``list`` gives, and how many bytes each blob has."""
        ...

    def delete(self, name: str) -> None:
        """Remove a blob; nothing happens when there is none."""
        ...

    def tidy(self) -> None:
        """Remove what puts left that died half-way. Nobody else may be writing."""
        ...


class FolderBlobs:
    """Blobs as files below a folder, which is made when something is written.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder).absolute()

    @property
    def where(self) -> str:
        """The folder."""
        return str(self._folder)

    def get(self, name: str) -> bytes:
        """The file's bytes."""
        path = self._path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise NoBlob("is not there", where=str(path)) from error
        except OSError as error:
            raise HarnessError(f"cannot be read: {error.strerror or error}", where=str(path)) from error

    def put(self, name: str, data: bytes) -> None:
        """Through a temporary file that replaces the old one."""
        write_atomic(self._path(name), data)

    def put_new(self, name: str, data: bytes) -> None:
        """Through a temporary file that is linked to the name, which fails if the name is taken."""
        path = self._path(name)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
        try:
            with writing(path):
                write_whole(temporary, data)
                os.link(temporary, path)
        except StorageFailed as error:
            if isinstance(error.__cause__, FileExistsError):
                raise BlobExists("is there already", where=str(path)) from error
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in NO_LINKS:
                raise
            _create(path, data)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return self._path(name).is_file()

    def list(self, prefix: str = "") -> Iterator[str]:
        """Files below the prefix's folder, temporary ones left out."""
        for path in (self._folder / prefix).rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(self._folder).as_posix()

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """By ``stat``."""
        found = {}
        for name in self.list(prefix):
            with suppress(FileNotFoundError):  # deleted in the meantime
                found[name] = (self._folder / name).stat().st_size
        return found

    def delete(self, name: str) -> None:
        """Remove the file."""
        path = self._path(name)
        with writing(path):
            path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove temporary files, and the hidden folders of backends that died."""
        for path in self._folder.rglob(".*"):
            if path.suffix in (".tmp", ".new") and path.is_file():
                path.unlink(missing_ok=True)
        for path in self._folder.glob(".*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise HarnessError(f"{name!r} is not the name of a blob", where=self.where)
        return self._folder / name


def _create(path: Path, data: bytes) -> None:
    """Write a file that must not exist, where the file system has no links: exclusive, but readers may see a part."""
    try:
        with writing(path), path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except StorageFailed as error:
        if isinstance(error.__cause__, FileExistsError):
            raise BlobExists("is there already", where=str(path)) from error
        raise


class BlobsUnder:
    """The blobs whose names start with a prefix, under the rest of their names.

    Args:
        blobs: All blobs.
        prefix: Without a slash at its end.
    """

    def __init__(self, blobs: Blobs, prefix: str) -> None:
        self._blobs, self._prefix = blobs, f"{prefix}/"

    @property
    def where(self) -> str:
        """The place."""
        return f"{self._blobs.where}/{self._prefix[:-1]}"

    def get(self, name: str) -> bytes:
        """See ``Blobs``."""
        return self._blobs.get(self._prefix + name)

    def put(self, name: str, data: bytes) -> None:
        """See ``Blobs``."""
        self._blobs.put(self._prefix + name, data)

    def put_new(self, name: str, data: bytes) -> None:
        """See ``Blobs``."""
        self._blobs.put_new(self._prefix + name, data)

    def exists(self, name: str) -> bool:
        """See ``Blobs``."""
        return self._blobs.exists(self._prefix + name)

    def list(self, prefix: str = "") -> Iterator[str]:
        """See ``Blobs``."""
        return (name.removeprefix(self._prefix) for name in self._blobs.list(self._prefix + prefix))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """See ``Blobs``."""
        return {
            name.removeprefix(self._prefix): size for name, size in self._blobs.sizes(self._prefix + prefix).items()
        }

    def delete(self, name: str) -> None:
        """See ``Blobs``."""
        self._blobs.delete(self._prefix + name)

    def tidy(self) -> None:
        """See ``Blobs``; of all blobs."""
        self._blobs.tidy()
