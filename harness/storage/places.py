"""Places as users write them: a folder, or the URL of a prefix in a bucket."""

from collections.abc import Iterator
from pathlib import Path

from harness.errors import HarnessError
from harness.storage.blobs import Blobs, FolderBlobs
from harness.storage.bucket import BucketBlobs
from harness.storage.clouds import CLOUDS

MANIFEST = "manifest.json"
"""What a place holds that is a run."""


def is_url(where: str | Path) -> bool:
    """Whether it is no path."""
    return "://" in str(where)


def joined(place: str, name: str) -> str:
    """The place of this name below another one."""
    return f"{place.rstrip('/')}/{name}" if is_url(place) else str(Path(place) / name)


def blobs_at(where: str) -> Blobs:
    """Blobs at a place as a user writes it. Nothing is asked of a bucket yet.

    Raises:
        HarnessError: A URL of a kind that cannot be used.
    """
    return bucket_at(where) if is_url(where) else FolderBlobs(where)


def bucket_at(url: str) -> BucketBlobs:
    """Blobs in a bucket.

    Raises:
        HarnessError: The URL is not one of a bucket.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in CLOUDS:
        known = ", ".join(f"{name}://" for name in CLOUDS)
        raise HarnessError(
            f"cannot be used: {scheme}:// is no bucket that is known", where=url, fix=f"a folder, {known}"
        )
    if not rest.strip("/"):
        raise HarnessError("names no bucket", where=url, fix=f"{scheme}://BUCKET/PREFIX")
    return BucketBlobs(f"{scheme}://{rest.rstrip('/')}")


def runs_below(storage: str) -> Iterator[tuple[str, str]]:
    """(name, place) of every run of a storage, sorted by name.

    Raises:
        HarnessError: A bucket that does not answer.
    """
    if is_url(storage):
        bucket = bucket_at(storage)
        names = [name for name in bucket.folders() if bucket.exists(f"{name}/{MANIFEST}")]
    else:
        names = [path.parent.name for path in Path(storage).glob(f"*/{MANIFEST}")]
    for name in sorted(names):
        yield name, joined(storage, name)
