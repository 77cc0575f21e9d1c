"""JSON objects that carry a checksum of themselves, so that a flipped byte is not read as another number."""

import hashlib
import json
from typing import Any

from pydantic_core import from_json

from harness.contract.record import Record

CHECKSUM = "checksum"
OF_TEXT = "text:"
"""What a checksum of the text begins with; one without it is ``checksum_of`` the fields, as older versions have it."""

MARK, CLOSE, END = f',\n "{CHECKSUM}": "{OF_TEXT}'.encode(), b'"\n}', b"\n}"


class NotWhole(ValueError):
    """Bytes that are not the JSON object which was written."""


def sealed(record: Record) -> bytes:
    """A record as JSON with its checksum, which is that of the text before it: a reader need not parse to compare."""
    text = _text(json.loads(record.model_dump_json()))
    return text[: -len(END)] + MARK + sha256_of(text).encode() + CLOSE


def unsealed(data: bytes) -> dict[str, Any]:
    """The fields of such a JSON object, without its checksum; one of an older version, which has none, as it is.

    Raises:
        NotWhole: It is no JSON object, or its checksum is another.
    """
    if (text := text_of(data)) is not None:
        return from_json(text)
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotWhole(f"cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise NotWhole("is not a record")
    if CHECKSUM not in values:
        return values
    found = values.pop(CHECKSUM)
    # Of another layout, as an editor leaves it, or of an older version.
    of_text = isinstance(found, str) and found.startswith(OF_TEXT)
    if found != (OF_TEXT + sha256_of(_text(values)) if of_text else checksum_of(values)):
        raise NotWhole("does not hold what was written: its checksum is another")
    return values


def text_of(data: bytes) -> bytes | None:
    """The JSON text without its checksum, if it is as ``sealed`` has written it; None: it has another layout.

    Raises:
        NotWhole: It has this layout, and its checksum is another.
    """
    place = len(data) - len(MARK) - 64 - len(CLOSE)
    if place < 0 or not data.startswith(MARK, place) or not data.endswith(CLOSE):
        return None
    text = data[:place] + END
    if sha256_of(text).encode() != data[place + len(MARK) : -len(CLOSE)]:
        raise NotWhole("does not hold what was written: its checksum is another")
    return text


def _text(values: dict[str, Any]) -> bytes:
    return json.dumps(values, indent=1).encode()


def checksum_of(values: dict[str, Any]) -> str:
    """sha256 (hex) of the canonical JSON: sorted keys, no spaces, so that indentation does not matter."""
    return sha256_of(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def sha256_of(data: bytes) -> str:
    """sha256 (hex)."""
    return hashlib.sha256(data).hexdigest()
