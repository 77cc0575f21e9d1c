"""JSON objects that carry a checksum of themselves, so that a flipped byte is not read as another number."""

import hashlib
import json
from typing import Any

from harness.contract.record import Record

CHECKSUM = "checksum"


class NotWhole(ValueError):
    """Bytes that are not the JSON object which was written."""


def sealed(record: Record) -> bytes:
    """A record as JSON with its checksum."""
    values = json.loads(record.model_dump_json())
    return json.dumps(values | {CHECKSUM: checksum_of(values)}, indent=1).encode()


def unsealed(data: bytes) -> dict[str, Any]:
    """The fields of such a JSON object, without its checksum; one of an older version, which has none, as it is.

    Raises:
        NotWhole: It is no JSON object, or its checksum is another.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotWhole(f"cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise NotWhole("is not a record")
    if CHECKSUM in values and values.pop(CHECKSUM) != checksum_of(values):
        raise NotWhole("does not hold what was written: its checksum is another")
    return values


def checksum_of(values: dict[str, Any]) -> str:
    """sha256 (hex) of the canonical JSON: sorted keys, no spaces, so that indentation does not matter."""
    return sha256_of(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def sha256_of(data: bytes) -> str:
    """sha256 (hex)."""
    return hashlib.sha256(data).hexdigest()
