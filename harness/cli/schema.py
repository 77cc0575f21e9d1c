"""``harness schema``: the sweep file as a JSON schema, for editors."""

from __future__ import annotations

import json
import sys


def schema() -> None:
    """Print the JSON schema of a sweep file.

    Example: harness schema > sweep.schema.json, and in a sweep file the first line
    "# yaml-language-server: $schema=sweep.schema.json": editors then complete and check it.
    """
    from harness.sweep.schema import sweep_schema

    json.dump(sweep_schema(), sys.stdout, indent=1)
    sys.stdout.write("\n")
