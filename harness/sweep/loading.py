"""Reading a sweep file, with the command line's overrides."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness.errors import HarnessError
from harness.sweep.config import Sweep
from harness.sweep.located import located
from harness.sweep.parsing import parsed


def load_sweep(path: Path, *, overrides: Sequence[str] = (), lies_at: Path | None = None) -> Sweep:
    """Read and check a sweep file (YAML or JSON).

    Args:
        path: The file.
        overrides: ``a.b.c=value`` replacements, values written as YAML.
        lies_at: The path that this is a copy of: relative paths start in that one's folder.

    Raises:
        HarnessError: One line with file, line and field.
    """
    if not path.is_file():
        raise HarnessError("no such sweep file", where=str(path), fix="see harness ls sweeps")
    node, values = parsed(path)
    if not isinstance(values, dict):
        raise HarnessError("is not a mapping of fields", where=str(path), fix="start with `name: ...`")
    return _checked(values, path, node, overrides, lies_at)


def sweep_of(values: dict[str, Any], path: Path, *, overrides: Sequence[str] = ()) -> Sweep:
    """Check what would be the content of a sweep file.

    Args:
        values: Its fields; overrides are written into them.
        path: Where it would lie: relative paths start in its folder.
        overrides: As in ``load_sweep``.

    Raises:
        HarnessError: One line with the field.
    """
    return _checked(values, path, None, overrides)


def _checked(
    values: dict[str, Any],
    path: Path,
    node: yaml.Node | None,
    overrides: Sequence[str],
    lies_at: Path | None = None,
) -> Sweep:
    for override in overrides:
        _override(values, override)
    try:
        return Sweep.model_validate({**values, "source": lies_at or path.resolve()})
    except ValidationError as error:
        raise located(error, Sweep, path, node) from error


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise HarnessError(f"--set {text!r} is not written field=value", fix="e.g. --set methods.ape.epochs=5")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise HarnessError(f"--set {text!r}: the value is not valid YAML") from error
    *parents, last = key.strip().split(".")
    here: Any = values
    for part in parents:
        if isinstance(here, dict):
            if here.get(part) is None:
                here[part] = {}
            here = here[part]
        elif isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        else:
            raise HarnessError(f"--set {text!r}: there is no field {part!r} to go into")
    if isinstance(here, list) and last.isdigit() and int(last) < len(here):
        here[int(last)] = parsed
    elif isinstance(here, dict):
        here[last] = parsed
    else:
        raise HarnessError(f"--set {text!r}: there is no field {last!r}")
