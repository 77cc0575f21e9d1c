"""What ``harness ls`` lists: one function per kind of thing, each giving rows of plain values."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.contract.registry import Registry

FACTS_OF_AT_MOST = 30
"""Encoders that are built, without weights, to tell their facts: some take a second each."""


def encoders(pattern: str | None) -> list[dict[str, Any]]:
    """Encoders by name; of few their dimension, parameters and license too.

    Args:
        pattern: Part of ``scheme:name``, or a shell pattern; None: all.
    """
    from harness.encoders.base import SCHEMES

    rows = []
    for scheme in sorted(SCHEMES.names(), key=lambda name: (name != "packaged", name)):
        if pattern and ":" in pattern and not fnmatch.fnmatch(scheme, f"{pattern.partition(':')[0].lstrip('*')}*"):
            continue  # its library need not be imported
        cls = SCHEMES.get(scheme)
        for modality in ("image", "text"):
            names = (f"{scheme}:{name}" for name in cls().names(modality))
            found = [name for name in names if _matches(name, pattern)]
            rows += [{"name": name, "modality": modality, "scheme": scheme} for name in found]
    return [row | _facts(row["name"], row["modality"]) for row in rows] if len(rows) <= FACTS_OF_AT_MOST else rows


def schemes_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Many encoders in a line per scheme and modality."""
    counted: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        counted.setdefault((row["scheme"], row["modality"]), []).append(row["name"])
    return [
        {"scheme": scheme, "modality": modality, "encoders": len(names), "such as": ", ".join(names[:3])}
        for (scheme, modality), names in counted.items()
    ]


def _matches(name: str, pattern: str | None) -> bool:
    if pattern is None:
        return True
    wanted = pattern.lower()
    return fnmatch.fnmatch(name.lower(), wanted if any(mark in wanted for mark in "*?[") else f"*{wanted}*")


def _facts(name: str, modality: Any) -> dict[str, Any]:
    from harness.encoders.base import EncoderSpec, scheme_of

    spec = EncoderSpec(name)
    try:
        info = scheme_of(spec).describe(spec, modality)
    except HarnessError as error:  # its package is not installed, or its config is on a hub
        return {"dim": None, "params": None, "license": None, "note": error.what}
    return {"dim": info.dim, "params": info.params, "license": info.license, "note": None}


def datasets(pattern: str | None) -> list[dict[str, Any]]:
    """Dataset kinds."""
    from harness.data.base import DATASETS

    return _named(DATASETS, pattern)


def connectors(pattern: str | None) -> list[dict[str, Any]]:
    """Connector kinds."""
    from harness.contract.connector import CONNECTORS

    return _named(CONNECTORS, pattern)


def objectives(pattern: str | None) -> list[dict[str, Any]]:
    """Objectives."""
    from harness.contract.objective import OBJECTIVES

    return _named(OBJECTIVES, pattern)


def methods(pattern: str | None) -> list[dict[str, Any]]:
    """Methods, and what each is recommended for."""
    from harness.contract.method import METHODS, Recommended

    def facts(cls: Any) -> dict[str, Any]:
        known = {"kind": cls.kind, "version": cls.version}
        return known | {"recommended_for": list(cls.recommended_for) if isinstance(cls, Recommended) else []}

    return _named(METHODS, pattern, facts)


def tasks(pattern: str | None) -> list[dict[str, Any]]:
    """Tasks with their metrics."""
    from harness.tasks.base import TASKS

    return _named(TASKS, pattern, lambda cls: {"metrics": ", ".join(cls.metrics)})


def _named(
    registry: Registry[Any], pattern: str | None, facts: Callable[[Any], dict[str, Any]] = lambda _: {}
) -> list[dict[str, Any]]:
    from harness.sweep.described import first_line

    found = {name: registry.get(name) for name in registry.names() if _matches(name, pattern)}
    return [{"name": name, **facts(cls), "about": first_line(cls)} for name, cls in found.items()]


def sweeps(pattern: str | None) -> list[dict[str, Any]]:
    """Sweep files, with their first line."""
    folders = [Path("sweeps"), Path(__file__).parents[2] / "sweeps"]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    rows = []
    for path in sorted(folder.glob("*.yaml")) if folder else ():
        first = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").strip()
        rows.append({"name": path.stem, "path": str(path), "about": first})
    return [row for row in rows if _matches(row["name"], pattern)]


def runs(storage: str, pattern: str | None) -> list[dict[str, Any]]:
    """Runs below a storage, with their progress."""
    from harness.run.store import RunStore
    from harness.storage.places import runs_below

    rows = []
    for name, place in runs_below(storage):
        store = RunStore(place)
        try:
            manifest = store.manifest()
        except HarnessError as error:
            rows.append({"name": name, "path": place, "cells": None, "finished": str(error)})
            continue
        finished = len(store.finished(cell.key for cell in manifest.cells))
        rows.append({"name": manifest.name, "path": place, "cells": len(manifest.cells), "finished": finished})
    return [row for row in rows if _matches(row["name"], pattern)]
