"""A run as an object: its summary, every number of it as a tidy frame, its connectors."""

from pathlib import Path
from typing import Any

import pandas as pd

from harness.connectors.stored import from_bytes
from harness.contract.connector import Connector
from harness.contract.pairs import Pair
from harness.contract.registry import near
from harness.errors import HarnessError
from harness.export.folder import export_connector, finished_connector
from harness.run.store import RunStore
from harness.storage.blobs import FolderBlobs
from harness.storage.places import is_url
from reports.analysis import analyse
from reports.build import Report, build_report
from reports.intervals import connector_intervals
from reports.picks import picked_pair
from reports.schema import Summary

COLUMNS = ("image", "text", "method", "seed", "split", "task", "metric", "value")


class OpenRun:
    """A run, finished or not.

    Args:
        folder: Its folder, which holds ``manifest.json``, or its URL.

    Raises:
        HarnessError: No run there.
    """

    def __init__(self, folder: str | Path) -> None:
        if is_url(folder):
            self.store = RunStore(str(folder))
            self.manifest = self.store.manifest()
            return
        path = Path(folder).expanduser()
        if not (path / "manifest.json").is_file():
            beside = [found.parent.name for found in path.parent.glob("*/manifest.json")]
            hint = near(path.name, beside) if beside else "harness.sweep(...) makes one"
            raise HarnessError("holds no run", where=str(folder), fix=hint)
        self.store = RunStore(str(path))
        self.manifest = self.store.manifest()

    def __repr__(self) -> str:
        done = len(self.store.finished(cell.key for cell in self.manifest.cells))
        return f"OpenRun({self.name!r}: {done} of {len(self.manifest.cells)} cells, {len(self.pairs)} pairs)"

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.manifest.name

    @property
    def pairs(self) -> list[Pair]:
        """(image encoder, text encoder) of every pair."""
        return self.manifest.pairs

    @property
    def methods(self) -> list[str]:
        """Labels of the methods."""
        return list(self.manifest.methods)

    @property
    def summary(self) -> Summary:
        """What ``summary.json`` of the report holds, computed from what is finished now."""
        return analyse(self.store).summary

    def to_frame(self) -> pd.DataFrame:
        """Every number of every finished cell, one a row.

        Returns:
            ``[numbers]`` with the columns image, text, method, seed, split (``validation`` or ``test``), task, metric
            and value. A training-free score has no task: its split is ``validation`` and its metric ``score``.
        """
        rows: list[tuple[Any, ...]] = []
        for record in self.store.records(self.manifest).values():
            for pair in record.metrics:
                head = (pair.image, pair.text, record.label, record.seed)
                measured = {"validation": pair.validation, "test": pair.test}
                found = [
                    (*head, split, task, metric, value)
                    for split, tasks in measured.items()
                    for task, metrics in tasks.items()
                    for metric, value in metrics.items()
                ]
                rows += found or [(*head, "validation", None, "score", pair.score)]
        return pd.DataFrame(rows, columns=pd.Index(COLUMNS))

    def connector(self, method: str, pair: Pair | None = None, *, seed: int | None = None) -> Connector:
        """A trained connector.

        Args:
            method: Label of the method.
            pair: (image encoder, text encoder); None: the method's pick.
            seed: None: the seed whose connector of this pair is best on validation.

        Raises:
            HarnessError: No such method, pair, seed or connector.
        """
        chosen = pair or self.picked(method)
        record, _ = finished_connector(self.store, self.manifest, method, chosen, seed)
        data = self.store.connectors(record.key)
        if data is None:
            raise HarnessError(f"the connectors of {method!r} are not there", where=self.store.where, fix="sweep again")
        return from_bytes(data, record.pairs.index(chosen), where=record.key)

    def picked(self, method: str) -> Pair:
        """The pair that a method picks: its best by the mean validation score over the seeds."""
        return picked_pair(self.store, method)

    def export(self, method: str, out: str | Path, pair: Pair | None = None, *, seed: int | None = None) -> Path:
        """Write one pair's connector as a folder that ``harness.load`` opens; returns the folder."""
        chosen = pair or self.picked(method)
        return export_connector(self.store, method, chosen, Path(out), seed=seed, intervals=connector_intervals)

    def report(self, out: str | Path | None = None) -> Report:
        """Write the report and return what it says.

        Args:
            out: Folder to write; None: ``report`` below the run.
        """
        return build_report(self.store, FolderBlobs(out) if out is not None else None)
