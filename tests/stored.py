"""Stored JSON files, changed by tests as a version or a user might have written them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.contract.sealed import CHECKSUM, checksum_of


def rewrite(path: Path, change: Callable[[dict[str, Any]], object] | dict[str, Any], *, sealed: bool = True) -> None:
    """Change the fields of a stored file, as if it had been written so.

    Args:
        path: The file.
        change: New fields, or what changes them in place.
        sealed: With a fitting checksum; else with none, like an older version.
    """
    values = json.loads(path.read_text())
    values.pop(CHECKSUM, None)
    values.update(change) if isinstance(change, dict) else change(values)
    values.pop(CHECKSUM, None)  # also one that came with the new fields
    path.write_text(json.dumps(values | ({CHECKSUM: checksum_of(values)} if sealed else {})))
