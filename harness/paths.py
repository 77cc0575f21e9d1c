"""Paths as a sweep file writes them."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo


def _resolve(path: Path, info: ValidationInfo) -> Path:
    root = (info.context or {}).get("root", Path.cwd())
    return path.expanduser() if path.expanduser().is_absolute() else (Path(root) / path).resolve()


SweepPath = Annotated[Path, AfterValidator(_resolve)]
"""A path relative to the sweep file; validated with ``context={"root": folder of the sweep file}``."""
