"""Where a number comes from: versions, commit, host, time."""

import hashlib
import inspect
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("stitch-harness", "torch", "numpy", "ray", "timm", "open_clip_torch", "sentence-transformers", "fvcore")


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


def source_digest(cls: type) -> str:
    """sha256 of the module that defines a class: tells that a method's source changed while its version did not."""
    try:
        source = inspect.getsource(inspect.getmodule(cls) or cls)
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(source.encode()).hexdigest()
