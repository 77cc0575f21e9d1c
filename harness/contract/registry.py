"""Names to classes, lazily: built-in tables, installed entry points and plug-in files."""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from harness.contract.plugins import load_file
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


T = TypeVar("T")


def near(name: str, names: Iterable[str]) -> str:
    """A hint naming the closest known names, or all of them when none is close."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(c) for c in close)}?"
    return f"known: {', '.join(known)}" if known else "none is known"


class Registry(Generic[T]):
    """Lazy table of ``name -> "module:attribute"``.

    A name may also be written as ``package.module:Attribute`` or ``path/to/file.py:Attribute``
    (relative to the sweep file), which is how a plug-in is tried before it is packaged.

    Args:
        noun: What an entry is called in messages, e.g. ``"method"``.
        builtin: Built-in entries.
        group: Entry-point group that installed packages may add to.
    """

    def __init__(self, noun: str, builtin: Mapping[str, str], *, group: str) -> None:
        self.noun, self.group = noun, group
        self._builtin = dict(builtin)

    def targets(self) -> dict[str, str]:
        """All names with their ``module:attribute``; a built-in name cannot be replaced."""
        installed = {point.name: point.value for point in entry_points(group=self.group)}
        return {**installed, **self._builtin}

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.targets())

    def get(self, name: str, root: Path | None = None) -> T:
        """Import and return the entry.

        Args:
            name: A known name, or ``module:attribute``, or ``file.py:attribute``.
            root: Folder that a file's path is relative to; the working folder by default.

        Raises:
            HarnessError: No such name (with the near ones), or its import failed.
        """
        target = name if ":" in name else self.targets().get(name)
        if target is None:
            raise HarnessError(f"unknown {self.noun} {name!r}", fix=near(name, self.names()))
        module_name, _, attribute = target.rpartition(":")
        try:
            if module_name.endswith(".py"):
                module = load_file((root or Path()) / Path(module_name).expanduser())
            else:
                module = importlib.import_module(module_name)
            return getattr(module, attribute)
        except Exception as error:  # whatever the plug-in's module does when it is imported
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise HarnessError(f"{self.noun} {name!r} cannot be loaded: {why}") from error
