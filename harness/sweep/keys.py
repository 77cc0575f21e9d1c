"""Keys of cells: a sha256 over what changes a cell's numbers, and over nothing that does not."""

import dataclasses
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.connectors.stored import described
from harness.contract.budget import Budget
from harness.contract.method import Method, ReadsParams
from harness.contract.pairs import Pair
from harness.data.base import Index
from harness.sweep.config import MethodConfig
from harness.sweep.resolve import ResolvedSweep


def cell_key(
    resolved: ResolvedSweep,
    config: MethodConfig,
    method: Method,
    pairs: tuple[Pair, ...],
    seed: int,
    rung: Budget | None,
) -> str:
    """sha256 (hex) over canonical JSON of method, data, connector, task, pairs and seed.

    Paths, the number of workers and the labels of methods are no part of it. A plug-in counts by the content of its
    file; what is built in counts by its version.
    """
    sweep = resolved.sweep
    images, texts = list(dict.fromkeys(i for i, _ in pairs)), list(dict.fromkeys(t for _, t in pairs))
    content: dict[str, Any] = {
        "method": [without_folder(config.method), method.version, dataclasses.asdict(method)],  # type: ignore[call-overload]
        "plugins": _plugins(resolved, config.method),
        "budget": dict(config.budget),
        "pairs": pairs,
        "seed": seed,
        "connector": [described(resolved.connector), sweep.connector.direction],
        "objective": without_folder(sweep.connector.loss),
        "selection": sweep.selection.model_dump(include={"task", "metric"}),
        "banks": [resolved.bank(resolved.dataset, "image", image).identity for image in images]
        + [resolved.bank(resolved.dataset, "text", text).identity for text in texts],
        "rows": _rows_identity(resolved.index),
        "tasks": sorted(_task_identity(resolved, n, images, texts) for n in range(len(sweep.tasks))),
    }
    if resolved.language:
        content["banks"] += [resolved.bank(resolved.dataset, "tokens", text).identity for text in texts]
        if sweep.connector.bucket_batches > 1:
            measure = resolved.bank(resolved.dataset, "tokens", next(iter(resolved.texts))).identity
            content["buckets"] = [sweep.connector.bucket_batches, measure]
    if isinstance(method, ReadsParams):
        sizes = resolved.sizes(pairs)
        content["params"] = [dict(sizes.image_params), dict(sizes.text_params)]
    if rung is not None:
        content["rung"] = [rung.limit]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def without_folder(name: str) -> str:
    """The name of a method or plug-in without the folder of its file."""
    return name.rpartition("/")[2]


def _plugins(resolved: ResolvedSweep, method: str) -> list[str]:
    """Digests of the plug-in files that a cell is made of: method, objective, connector kind, tasks."""
    sweep = resolved.sweep
    names = [method, sweep.connector.loss, sweep.connector.kind or "", *(task.kind for task in sweep.tasks)]
    files = [sweep.root / name.rpartition(":")[0] for name in names if name.rpartition(":")[0].endswith(".py")]
    return [_file_digest(file.expanduser().resolve()) for file in files]


@cache
def _file_digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _task_identity(resolved: ResolvedSweep, number: int, images: list[str], texts: list[str]) -> str:
    task, evaluation = resolved.tasks[number], resolved.evaluations[number]
    settings: dict[str, Any] = dataclasses.asdict(task)  # type: ignore[call-overload]
    found: list[Any] = [evaluation.label, task.name, task.version, settings]
    for dataset, modality in evaluation.banks():
        if dataset is not resolved.dataset:
            found += [resolved.bank(dataset, modality, e).identity for e in (images if modality == "image" else texts)]
    if evaluation.dataset is not resolved.dataset:
        found.append(_rows_identity(evaluation.dataset.index()))
    return json.dumps(found, sort_keys=True)


def _rows_identity(index: Index) -> str:
    """Digest of which rows are in which split, of their labels and of their groups, which a cell stores as units."""
    sha = hashlib.sha256()
    facts = (("labels", index.labels), ("groups", index.groups))
    for name, rows in (*sorted(index.splits.items()), *facts):
        if rows is None:
            continue
        sha.update(f"{name}:{len(rows)}".encode())
        sha.update(np.ascontiguousarray(rows, dtype=np.int64).tobytes())
    return sha.hexdigest()
