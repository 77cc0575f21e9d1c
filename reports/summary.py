"""Writing and reading ``summary.json``."""

import json
from pathlib import Path

from pydantic import ValidationError

from harness.errors import HarnessError
from harness.storage.blobs import Blobs
from reports.schema import Summary

SUMMARY = "summary.json"


def write_summary(summary: Summary, into: Blobs) -> None:
    """Write ``summary.json`` whole or not at all; numbers that are not finite are null."""
    data = summary.model_dump(mode="json", by_alias=True)
    into.put(SUMMARY, (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_summary(path: Path) -> Summary:
    """Read a ``summary.json``.

    Raises:
        HarnessError: Missing or not of this schema.
    """
    try:
        return Summary.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise HarnessError("no readable summary", where=str(path), fix="harness report RUN makes one") from error
