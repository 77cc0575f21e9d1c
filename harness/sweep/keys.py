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


class CellKeys:
    """Keys of one method's cells; what they share is digested once, for a plan has ten thousand of them.

    A key is the sha256 (hex) over canonical JSON of method, data, connector, task, pairs and seed. Paths, the number of
    workers and the labels of methods are no part of it. A plug-in counts by the content of its file; what is built in
    counts by its version.

    Args:
        resolved: The sweep.
        config: The method as written.
        method: The method with its settings.
    """

    def __init__(self, resolved: ResolvedSweep, config: MethodConfig, method: Method) -> None:
        sweep = resolved.sweep
        self._resolved, self._reads_params = resolved, isinstance(method, ReadsParams)
        self._shared: dict[str, Any] = {
            "method": [without_folder(config.method), method.version, dataclasses.asdict(method)],  # type: ignore[call-overload]
            "plugins": _plugins(resolved, config.method),
            "budget": dict(config.budget),
            "connector": [described(resolved.connector), sweep.connector.direction],
            "objective": without_folder(sweep.connector.loss),
            "selection": sweep.selection.model_dump(include={"task", "metric"}),
            "rows": _rows_identity(resolved.index),
        }
        self._tasks = [_TaskIdentity(resolved, number) for number in range(len(sweep.tasks))]

    def of(self, pairs: tuple[Pair, ...], seed: int, rung: Budget | None) -> str:
        """The key of a cell.

        Args:
            pairs: Its pairs.
            seed: Its seed.
            rung: Where its rung ends, of a method that stops trailing pairs.
        """
        resolved = self._resolved
        images, texts = list(dict.fromkeys(i for i, _ in pairs)), list(dict.fromkeys(t for _, t in pairs))
        content: dict[str, Any] = {
            **self._shared,
            "pairs": pairs,
            "seed": seed,
            "banks": [resolved.bank(resolved.dataset, "image", image).identity for image in images]
            + [resolved.bank(resolved.dataset, "text", text).identity for text in texts],
            "tasks": sorted(task.of(images, texts) for task in self._tasks),
        }
        if resolved.language:
            content["banks"] += [resolved.bank(resolved.dataset, "tokens", text).identity for text in texts]
        if self._reads_params:
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


class _TaskIdentity:
    """What of a task is part of keys: its settings, the banks that it reads besides, and its rows."""

    def __init__(self, resolved: ResolvedSweep, number: int) -> None:
        task, evaluation = resolved.tasks[number], resolved.evaluations[number]
        settings: dict[str, Any] = dataclasses.asdict(task)  # type: ignore[call-overload]
        self._resolved = resolved
        self._begin: list[Any] = [evaluation.label, task.name, task.version, settings]
        self._banks = [bank for bank in evaluation.banks() if bank[0] is not resolved.dataset]
        own = evaluation.dataset is not resolved.dataset
        self._end = [_rows_identity(evaluation.dataset.index())] if own else []

    def of(self, images: list[str], texts: list[str]) -> str:
        """For a cell of these encoders."""
        banks = [
            self._resolved.bank(dataset, modality, encoder).identity
            for dataset, modality in self._banks
            for encoder in (images if modality == "image" else texts)
        ]
        return json.dumps([*self._begin, *banks, *self._end], sort_keys=True)


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
