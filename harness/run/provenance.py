"""Where a number comes from: versions, commit, host, time, and the source that made it."""

import ast
import hashlib
import inspect
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from harness.contract.plugins import PLUGIN_FILE, shipped_folder

PACKAGES = ("stitch-harness", "torch", "numpy", "ray", "timm", "open_clip_torch", "sentence-transformers", "fvcore")

CONTRACT = "harness.contract"

NUMBERS = (
    "hyma",
    "baselines",
    "harness.training",
    "harness.connectors",
    "harness.objectives",
    CONTRACT,
    "harness.method",
)
"""Packages whose modules take part in a method's numbers. Plug-ins do so too."""

COMMIT = "commit"
"""File beside shipped code that says of which commit it is."""

_worker: dict[str, str] = {}
"""What a worker process of a cluster says of itself."""

LAZY_NAME = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")
"""How a registry names a class that it has not imported."""


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def commit() -> str | None:
    """Commit of the harness's own checkout, with ``+`` if it has changes; None outside a checkout.

    Code that was shipped to a cluster says which commit it was.
    """
    shipped = shipped_folder()
    if shipped and (shipped / COMMIT).is_file():
        return (shipped / COMMIT).read_text(encoding="utf-8") or None
    folder = Path(__file__).parent
    try:
        git = ["git", "-C", str(folder)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def provenance() -> dict[str, Any]:
    """Versions, commit, host and time, as stored in manifests and cells; in cells of a cluster also node and code."""
    return {
        "versions": _versions(),
        "commit": commit(),
        "host": platform.node(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **_worker,
    }


def work_on(node: str) -> None:
    """Note that this process is a worker: its records then say on which node, and with the code of which folder.

    Args:
        node: The node's id.
    """
    _worker.update(node=node, code=str(Path(__file__).parents[2]))


def sources_of(*classes: type) -> dict[str, str]:
    """Module -> digest of its source, of every module that these classes' numbers are made by.

    From the modules that define the classes it follows what they import, and what they name in registries of their own,
    as far as it stays within ``NUMBERS`` and the classes' packages. A plug-in file is called by its name without the
    folder.
    """
    packages = {*NUMBERS, *(cls.__module__.partition(".")[0] for cls in classes)} - {"harness"}
    found: dict[str, str] = {}
    waiting, seen = [base.__module__ for cls in classes for base in cls.__mro__], set()
    while waiting:
        name = waiting.pop()
        if name in seen or not any(_within(name, package) for package in packages):
            continue
        seen.add(name)
        source = _source(name)
        if source is not None:
            found[_called(name)] = hashlib.sha256(source.encode()).hexdigest()[:16]
            waiting += _uses(name)
    return dict(sorted(found.items()))


def is_plugin_file(module: str) -> bool:
    """Whether a name in ``sources_of`` is that of a plug-in file, whose content is part of the keys of its cells."""
    return module.endswith(".py")


def _called(module: str) -> str:
    file = sys.modules[module].__file__ if module.startswith(PLUGIN_FILE) else None
    return Path(file).name if file else module


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@cache
def _source(module: str) -> str | None:
    """A module's source; None where it has none."""
    try:
        if module in sys.modules:
            return inspect.getsource(sys.modules[module])
        spec = find_spec(module)
    except (OSError, TypeError, ImportError):
        return None
    return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else None


@cache
def _uses(module: str) -> tuple[str, ...]:
    """Modules that a module imports, wherever in its source it does, or names in a registry."""
    tree, spec = ast.parse(_source(module) or ""), find_spec(module)
    package = module if spec and spec.submodule_search_locations else module.rpartition(".")[0]
    # The registries of the contract hold what the sweep chooses; the chosen classes are given.
    named = () if _within(module, CONTRACT) else _named(tree)
    return tuple(dict.fromkeys((*_imported(tree, package), *named)))


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            origin = resolve_name(origin, package) if node.level else origin
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _named(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = LAZY_NAME.fullmatch(node.value)
            if match:
                yield match[1]
