"""Whose mistake it is: a field that the command line has replaced is not blamed on a line of the file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.errors import HarnessError

_replaced: list[str] = []  # of this process's command

_PLACE = re.compile(r"^(?P<file>.+?)(?::\d+)?: (?P<field>[^\s:]+)$")
_UNKNOWN = re.compile(r"^unknown key '(?P<key>[^']*)'")


def remember(overrides: Sequence[str]) -> None:
    """Note the fields (``a.b=value``) that this command replaces."""
    _replaced[:] = [override.partition("=")[0].strip() for override in overrides]


def blamed(error: HarnessError) -> HarnessError:
    """The same error, said of ``--set`` where it is about a replaced field."""
    found = _PLACE.match(error.where or "")
    if found is None:
        return error
    field, unknown = found["field"], _UNKNOWN.match(error.what)
    key = f"{field}.{unknown['key']}" if unknown and not field.endswith(unknown["key"]) else field
    for given in _replaced:
        if key == given or key.startswith(f"{given}."):
            beside = "" if key == given else f": {key}"
            return type(error)(error.what, where=f"--set {given}{beside}", fix=error.fix)
    return error
