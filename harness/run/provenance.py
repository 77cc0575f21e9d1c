"""Where a number comes from: versions, commit, host, time, and the source that made it."""

import ast
import hashlib
import inspect
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = ("stitch-harness", "torch", "numpy", "ray", "timm", "open_clip_torch", "sentence-transformers", "fvcore")

NUMBERS = ("hyma", "baselines", "harness.training", "harness.connectors", "harness.objectives", "harness.contract")
"""Packages whose modules take part in a method's numbers. Plug-in files do so too."""


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
def _commit() -> str | None:
    """Commit of the harness's own checkout, with ``+`` if it has changes; None outside a checkout."""
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
    """Versions, commit, host and time, as stored in manifests and cells."""
    return {
        "versions": _versions(),
        "commit": _commit(),
        "host": platform.node(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def sources_of(*classes: type) -> dict[str, str]:
    """Module -> digest of its source, of every module that these classes' numbers are made by.

    From the modules that define the classes it follows their imports, as far as they stay within ``NUMBERS``.
    """
    found: dict[str, str] = {}
    waiting = [cls.__module__ for cls in classes]
    while waiting:
        name = waiting.pop()
        source = _source(name)
        if name in found or source is None:
            continue
        found[name] = hashlib.sha256(source.encode()).hexdigest()[:16]
        waiting += [other for other in _imports(name) if _makes_numbers(other)]
    return dict(sorted(found.items()))


def _makes_numbers(module: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in NUMBERS)


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
def _imports(module: str) -> tuple[str, ...]:
    """Modules that a module imports, wherever in its source it does."""
    return tuple(dict.fromkeys(_imported(ast.parse(_source(module) or ""))))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
