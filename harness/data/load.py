"""From a sweep file's ``data`` part to a dataset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.data.base import DATASETS, Dataset
from harness.errors import HarnessError


def load_dataset(config: Mapping[str, Any], root: Path | None = None) -> Dataset:
    """Build the dataset that a ``data`` part describes.

    Args:
        config: The part, with its ``kind``.
        root: Folder that relative paths are relative to (the sweep file's); the working folder by default.

    Raises:
        HarnessError: No or an unknown kind; a file is missing, empty or malformed.
        pydantic.ValidationError: A field is unknown or of the wrong type (with its location).
    """
    kind = config.get("kind")
    if not isinstance(kind, str):
        raise HarnessError("data needs a kind", fix=f"one of {', '.join(DATASETS.names())}")
    registered = DATASETS.get(kind, root)
    validated = registered.Config.model_validate(dict(config), context={"root": root or Path.cwd()})
    return registered(validated)
