"""Plug-in files: imported under names of their own, here or on a machine that they were shipped to."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

PLUGIN_FILE = "harness_plugin_"
"""How the module names of plug-in files begin."""

SHIPPED = "harness_shipped"
"""Package that holds what was shipped beside the code to a cluster: plug-in files, and the commit of the code."""

_loaded: dict[str, Path] = {}
"""Module name -> the plug-in file that it was made of, where the sweep file says that it lies."""


def load_file(path: Path) -> Any:
    """Import one Python file under a name made from its path, once per process.

    Raises:
        FileNotFoundError: There is none, and none was shipped.
    """
    file = path.resolve()
    name = f"{PLUGIN_FILE}{file.stem}_{_digest(file)[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    found = plugin_file(path)
    if not found.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    spec = importlib.util.spec_from_file_location(name, found)
    if spec is None or spec.loader is None:
        raise ImportError(f"not a Python file: {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _loaded[name] = path
    return module


def plugin_file(path: Path) -> Path:
    """Where a plug-in file is read here: the copy that was shipped with the sweep's code, if there is one.

    The copy goes first, so that whoever edits the file while a sweep runs does not change the sweep.
    """
    folder = shipped_folder()
    copy = folder / shipped_as(path) if folder else None
    return copy if copy and copy.is_file() else path.resolve()


def loaded_files() -> list[Path]:
    """The plug-in files that this process has imported."""
    return list(_loaded.values())


def shipped_as(path: Path) -> str:
    """The name of a plug-in file's copy, in the folder of ``SHIPPED``: by its path where the sweep was started."""
    # Without following links, which another machine may have elsewhere.
    return f"{_digest(Path(os.path.normpath(path.absolute())))[:16]}/{path.name}"


@cache
def shipped_folder() -> Path | None:
    """Where what was shipped lies; None where nothing was."""
    spec = importlib.util.find_spec(SHIPPED)
    return Path(spec.origin).parent if spec and spec.origin else None


def _digest(file: Path) -> str:
    return hashlib.sha256(str(file).encode()).hexdigest()
