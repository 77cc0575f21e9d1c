"""Blobs as objects of a bucket, with the guarantees of ``harness.storage.blobs``.

Why they hold: a put of an object is whole or not at all, an object that was put is on several disks, reading and
listing see what was put before (S3 since December 2020, Google and Azure always), and ``If-None-Match: *`` lets one of
several puts succeed. What fails now and then is tried again with growing pauses (``HARNESS_BUCKET_PATIENCE_S``).
"""

import contextlib
import hashlib
import mimetypes
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.contract.files import writing
from harness.errors import HarnessError, StorageFailed
from harness.storage.blobs import NAME, BlobExists, NoBlob
from harness.storage.clouds import client_of, failed, library, no_bucket, patience_s

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
TOKEN = "harness-put"
"""Metadata of an object that ``put_new`` made: whose put it was."""
PIECE, AT_ONCE = 8 * 2**20, 4
"""Bytes of one request where files are moved, and how many of these run at once."""
WHOLE = 64 * 2**20
"""Bytes up to which a blob is put in one request."""

_there: set[str] = set()
"""URLs whose bucket is known to be there."""


class BucketBlobs:
    """Blobs below a prefix of a bucket. Holds a URL only; a process connects when it first asks for something.

    Args:
        url: ``s3://bucket/prefix``, ``gs://...``, ``az://...`` or ``abfs://...``, without a slash at its end.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def where(self) -> str:
        """The URL."""
        return self._url

    def get(self, name: str) -> bytes:
        """The object's bytes."""
        obstore = library(self._url)

        return self._asked(name, lambda client, key: bytes(obstore.get(client, key).bytes()))

    def put(self, name: str, data: bytes) -> None:
        """One request; large blobs in several, which become an object at the end."""
        obstore = library(self._url)

        many = len(data) > WHOLE
        attributes = _attributes(name)
        self._asked(name, lambda client, key: obstore.put(client, key, data, use_multipart=many, attributes=attributes))

    def put_new(self, name: str, data: bytes) -> None:
        """A conditional put. It carries a token, so that one whose answer was lost recognises what it has done."""
        obstore = library(self._url)

        attributes = {**_attributes(name), TOKEN: uuid.uuid4().hex}
        until, pause = time.monotonic() + patience_s(), 0.1
        while True:
            try:
                self._asked(
                    name,
                    lambda client, key: obstore.put(
                        client, key, data, mode="create", use_multipart=False, attributes=attributes
                    ),
                )
                return
            except StorageFailed as error:
                if isinstance(error.__cause__, obstore.exceptions.AlreadyExistsError):
                    if self._token(name) == attributes[TOKEN]:
                        return
                    raise BlobExists("is there already", where=f"{self._url}/{name}") from error
                if time.monotonic() > until or isinstance(error.__cause__, PermissionError):
                    raise
            time.sleep(pause)  # the client itself does not repeat a request that may have succeeded
            pause = min(2 * pause, 5.0)

    def exists(self, name: str) -> bool:
        """Whether the object is there."""
        obstore = library(self._url)

        try:
            self._asked(name, obstore.head)
        except NoBlob:
            self._check_bucket()
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        """Objects below the prefix; what has no name of a blob (a console's empty folders) is left out."""
        return iter(self.sizes(prefix))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """By one listing, which needs a request for every thousand objects."""
        obstore = library(self._url)

        def read(client: "ObjectStore", key: str) -> dict[str, int]:
            chunks = obstore.list(client, prefix=key or None, chunk_size=1000)
            return {found["path"]: found["size"] for chunk in chunks for found in chunk}

        found = self._asked(prefix, read, check=False)
        return {name: size for name, size in found.items() if NAME.fullmatch(name)}

    def folders(self) -> tuple[str, ...]:
        """First parts of the names that have several, by one listing."""
        obstore = library(self._url)

        found = self._asked("", lambda client, _: obstore.list_with_delimiter(client), check=False)
        return tuple(sorted(name.rstrip("/") for name in found["common_prefixes"]))

    def delete(self, name: str) -> None:
        """Remove the object."""
        obstore = library(self._url)

        with contextlib.suppress(NoBlob):
            self._asked(name, obstore.delete)

    def tidy(self) -> None:
        """Nothing: a put that died half-way left nothing that is seen."""

    def upload(self, name: str, file: Path) -> None:
        """Put a file of any size, in pieces, which become an object at the end.

        Raises:
            StorageFailed: It cannot be written.
        """
        obstore = library(self._url)

        self._asked(name, lambda client, key: obstore.put(client, key, file, chunk_size=PIECE, max_concurrency=AT_ONCE))

    def download(self, name: str, file: Path) -> None:
        """Get an object of any size into a file, in pieces that are each tried again; not atomic.

        Raises:
            NoBlob: There is none.
            StorageFailed: It cannot be read, or the file not written.
        """
        with writing(file), file.open("wb") as out:
            size = self.size(name)
            out.truncate(size)

            def move(start: int) -> None:
                data = self._piece(name, start, min(start + PIECE, size))
                os.pwrite(out.fileno(), data, start)

            with ThreadPoolExecutor(AT_ONCE) as pool:
                for _ in pool.map(move, range(0, size, PIECE)):
                    pass
            os.fsync(out.fileno())

    def sha256(self, name: str) -> str:
        """sha256 (hex) of an object's bytes, read in pieces.

        Raises:
            NoBlob: There is none.
        """
        sha, size = hashlib.sha256(), self.size(name)
        for start in range(0, size, PIECE):
            sha.update(self._piece(name, start, min(start + PIECE, size)))
        return sha.hexdigest()

    def size(self, name: str) -> int:
        """Bytes of an object.

        Raises:
            NoBlob: There is none.
        """
        obstore = library(self._url)

        return self._asked(name, obstore.head)["size"]

    def move(self, name: str, target: str) -> None:
        """Give an object another name, inside the bucket; nothing happens when there is none."""
        obstore = library(self._url)

        with contextlib.suppress(NoBlob):
            self._asked(name, lambda client, key: obstore.copy(client, key, target))
            self.delete(name)

    def _check_bucket(self) -> None:
        """Fail where there is no bucket at all, which the answer to ``head`` does not say; asked once a process."""
        obstore = library(self._url)

        if self._url not in _there:
            self._asked("", lambda client, _: next(iter(obstore.list(client, chunk_size=1)), None), check=False)
            _there.add(self._url)

    def _piece(self, name: str, start: int, end: int) -> bytes:
        obstore = library(self._url)

        return self._asked(name, lambda client, key: bytes(obstore.get_range(client, key, start=start, end=end)))

    def _token(self, name: str) -> str | None:
        obstore = library(self._url)

        try:
            return self._asked(name, lambda client, key: dict(obstore.get(client, key).attributes)).get(TOKEN)
        except NoBlob:
            return None

    def _asked(self, name: str, request: "Callable[[ObjectStore, str], T]", *, check: bool = True) -> T:
        """What the bucket answers to a request about a name.

        Raises:
            NoBlob: There is none of this name.
            StorageFailed: It failed for good.
        """
        if check and not NAME.fullmatch(name):
            raise HarnessError(f"{name!r} is not the name of a blob", where=self._url)
        client, where = client_of(self._url), f"{self._url}/{name}" if name else self._url
        try:
            return request(client, name)
        except HarnessError:
            raise
        except Exception as error:  # obstore's own, and some of Python's
            if isinstance(error, FileNotFoundError) and not no_bucket(error):
                raise NoBlob("is not there", where=where) from error
            raise failed(error, self._url, where) from error


def _attributes(name: str) -> dict[str, Any]:
    """So that a browser shows what lies in a bucket."""
    kind, _ = mimetypes.guess_type(name)
    return {"Content-Type": kind or "application/octet-stream"}
