"""Clients of buckets: which clouds there are, where their credentials come from, and what their errors mean.

Amazon S3 and what speaks its protocol, Google Cloud Storage and Azure are reached through ``obstore``, which is one
interface to all three: an optional package.
"""

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contract.files import AGAIN
from harness.errors import HarnessError, StorageFailed

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PATIENCE = "HARNESS_BUCKET_PATIENCE_S"
"""Environment variable: seconds for which a request that fails is tried again."""
PATIENCE_S, TIMEOUT_S = 60.0, 30.0
"""By default; and seconds that one request may take."""
SAID = 200
"""Characters of a cloud's own words that are shown."""
INSTALL = "pip install 'stitch-harness[buckets]' (or obstore), also on every node of a cluster"


@dataclass(frozen=True)
class Cloud:
    """A kind of bucket.

    Attributes:
        name: What people call it.
        credentials: How a user gives them.
        endpoints: Environment variables that may name another endpoint than the cloud's own; the first that is set
            counts.
        keys: Environment variables any of which says that there are credentials.
    """

    name: str
    credentials: str
    endpoints: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


AWS = Cloud(
    "S3",
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with keys in ~/.aws/credentials; "
    "aws configure export-credentials --format env writes those of a login",
    ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    + ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SKIP_SIGNATURE"),
)
GOOGLE = Cloud("Google Cloud Storage", "set GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login")
AZURE = Cloud(
    "Azure", "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or AZURE_STORAGE_SAS_TOKEN), or az login"
)
CLOUDS: Mapping[str, Cloud] = {"s3": AWS, "gs": GOOGLE, "az": AZURE, "abfs": AZURE, "abfss": AZURE}
"""Scheme of a URL -> the cloud."""

NO_CREDENTIALS = ("169.254.169.254", "metadata.google.internal", "169.254.170.2", "InvalidAccessKeyId", "InvalidToken")
NO_CREDENTIALS += (
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "AuthenticationFailed",
    "Unauthenticated",
    "401 Unauthorized",
)
NO_CREDENTIALS += ("Account must be specified",)
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist", "InvalidBucketName")
REFUSED = ("AccessDenied", "403 Forbidden", "AuthorizationFailure", "AuthorizationPermissionMismatch")
"""What clouds write into their answers."""


def cloud_of(url: str) -> Cloud:
    """The cloud of a URL."""
    return CLOUDS[url.partition("://")[0]]


def patience_s() -> float:
    """Seconds for which a request that fails is tried again.

    Raises:
        HarnessError: The environment variable holds no number.
    """
    given = os.environ.get(PATIENCE, "")
    try:
        return float(given) if given else PATIENCE_S
    except ValueError as error:
        raise HarnessError(f"{given!r} is not a number of seconds", where=PATIENCE) from error


def library(url: str) -> Any:
    """The package ``obstore``, with its modules ``store`` and ``exceptions``.

    Args:
        url: What it is wanted for.

    Raises:
        HarnessError: It is not installed.
    """
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise HarnessError("buckets need the package obstore", where=url, fix=INSTALL) from error
    return obstore


def client_of(url: str) -> "ObjectStore":
    """What talks to the bucket: one per place and environment, because each holds connections.

    Raises:
        HarnessError: ``obstore`` is not installed, or the URL is not understood.
    """
    names = sorted(name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_", PATIENCE)))
    return _client(url, tuple((name, os.environ[name]) for name in names), os.getpid())


@lru_cache(maxsize=64)
def _client(url: str, environment: tuple[tuple[str, str], ...], process: int) -> "ObjectStore":
    del environment, process  # another one needs another client; a forked process cannot use its parent's
    from_url = library(url).store.from_url
    cloud, patience = cloud_of(url), patience_s()
    endpoint = next((os.environ[name] for name in cloud.endpoints if os.environ.get(name)), "")
    # Nobody waits a minute for the metadata server of a machine that is no cloud's.
    alone = cloud is AWS and not any(os.environ.get(name) for name in cloud.keys)
    profile = aws_profile() if alone else {}
    given: dict[str, Any] = {**({"endpoint": endpoint} if endpoint else {}), **profile}
    backoff = {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2}
    retries = 2 if alone and not profile else 1000
    try:
        return from_url(
            url,
            client_options={"timeout": timedelta(seconds=TIMEOUT_S), "allow_http": endpoint.startswith("http://")},
            retry_config={
                "max_retries": retries,
                "retry_timeout": timedelta(seconds=patience),
                "backoff": backoff,
            },
            **given,
        )
    except Exception as error:
        raise failed(error, url, url) from error


def aws_profile() -> dict[str, str]:
    """The keys of the user's profile in ``~/.aws/credentials``; nothing where there are none."""
    given = os.environ.get("AWS_SHARED_CREDENTIALS_FILE")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(Path(given) if given else Path.home() / ".aws" / "credentials")
        found = parser[os.environ.get("AWS_PROFILE", "default")]
    except (configparser.Error, KeyError, OSError, UnicodeDecodeError):
        return {}
    names = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key"}
    names["aws_session_token"] = "session_token"
    keys = {ours: found[theirs] for theirs, ours in names.items() if theirs in found}
    return keys if {"access_key_id", "secret_access_key"} <= keys.keys() else {}


def no_bucket(error: BaseException) -> bool:
    """Whether the bucket is not there, and not only what was asked for in it."""
    return _says(str(error), NO_BUCKET)


def failed(error: BaseException, url: str, where: str) -> StorageFailed:
    """What a user can do about a request that failed for good, in one line.

    Args:
        error: What the client says.
        url: The bucket's.
        where: What was asked for.
    """
    text = str(error).partition("\n\nDebug source")[0]
    cloud = cloud_of(url)
    if no_bucket(error):
        fix = "make the bucket first, or correct its name, the region or the endpoint"
        return StorageFailed("there is no such bucket", where=url, fix=fix)
    if _says(text, NO_CREDENTIALS):
        return StorageFailed(f"no valid {cloud.name} credentials were found", where=url, fix=cloud.credentials)
    if _says(text, REFUSED) or isinstance(error, PermissionError):
        fix = f"these credentials may not do this: list, read, write and delete are needed; {AGAIN}"
        return StorageFailed(f"access was refused: {_short(text)}", where=where, fix=fix)
    what = f"the bucket does not answer as it should: {_short(text)}"
    return StorageFailed(what, where=where, fix=f"see whether {cloud.name} can be reached; {AGAIN}")


def _says(text: str, marks: tuple[str, ...]) -> bool:
    return any(mark in text for mark in marks)


def _short(text: str) -> str:
    """The end of the first lines says what happened, their beginning what was asked."""
    line = " ".join(text.split())
    return line if len(line) <= SAID else f"... {line[-SAID:]}"
