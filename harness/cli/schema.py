"""``harness schema``: the sweep file as a JSON schema, for editors; and that of ``--json-lines``."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def schema(
    events: Annotated[bool, typer.Option("--events", help="The schema of a line of --json-lines instead.")] = False,
) -> None:
    """Print the JSON schema of a sweep file.

    Example: harness schema > sweep.schema.json, and in a sweep file the first line
    "# yaml-language-server: $schema=sweep.schema.json": editors then complete and check it.
    """
    if events:
        from harness.cli.events import events_schema as described
    else:
        from harness.sweep.schema import sweep_schema as described

    json.dump(described(), sys.stdout, indent=1)
    sys.stdout.write("\n")
