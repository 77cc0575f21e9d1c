"""A run as arrays: scores per seed and pair for every method."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from harness.errors import HarnessError
from harness.store import CellRecord, Manifest, PlannedCell, PlannedMethod, RunStore
from reports.ranking import oriented


@dataclass(frozen=True)
class MethodData:
    """What the store holds of one method.

    Attributes:
        label: Its label in the sweep file.
        planned: Its entry in the plan.
        cells: Its planned cells.
        records: Its finished cells, by key, in plan order.
        scores: ``[seeds, pairs]`` what it ranks by, as written; NaN where there is no number.
        test: ``[seeds, pairs]`` the selection metric on test data, as written; NaN where there is no number.
        ran: ``[seeds, pairs]`` the method has a verdict on the pair: a number, or training that diverged. A pair
            that ran and has no number is ranked last; one that did not run (failed, timed out, missing) is left out.
        score_higher: Whether a larger ``scores`` is better.
        metric_higher: Whether a larger ``test`` is better.
    """

    label: str
    planned: PlannedMethod
    cells: list[PlannedCell]
    records: dict[str, CellRecord]
    scores: Float[np.ndarray, "seeds pairs"]
    test: Float[np.ndarray, "seeds pairs"]
    ran: Bool[np.ndarray, "seeds pairs"]
    score_higher: bool
    metric_higher: bool

    @property
    def ranking(self) -> Float[np.ndarray, "seeds pairs"]:
        """``scores``, larger is better."""
        return oriented(self.scores, higher_is_better=self.score_higher)

    @property
    def quality(self) -> Float[np.ndarray, "seeds pairs"]:
        """``test``, larger is better."""
        return oriented(self.test, higher_is_better=self.metric_higher)

    def of_seed(self, seed: int) -> list[CellRecord]:
        """Finished cells of a seed, in plan order."""
        return [record for record in self.records.values() if record.seed == seed]

    def complete(self, seed: int) -> bool:
        """Whether every planned cell of the seed has a record, whatever its status."""
        planned = [cell for cell in self.cells if cell.seed == seed]
        return bool(planned) and all(cell.key in self.records for cell in planned)


@dataclass(frozen=True)
class RunData:
    """A run: its plan and its methods, in the order of the plan."""

    store: RunStore
    manifest: Manifest
    methods: dict[str, MethodData]

    @property
    def reference(self) -> MethodData | None:
        """The reference method, when the run has one."""
        return self.methods.get(self.manifest.reference) if self.manifest.reference else None

    @property
    def task_kind(self) -> str | None:
        """Kind of the selection metric's task."""
        task = self.manifest.selection.task
        return next((entry.kind for entry in self.manifest.tasks if entry.label == task), None)


def load(store: RunStore) -> RunData:
    """Read a run, finished or not.

    Raises:
        HarnessError: No run here, a damaged file, or a plan that contradicts itself.
    """
    manifest = store.manifest()
    records = store.records(manifest)
    unknown = {cell.label for cell in manifest.cells} - set(manifest.methods)
    if unknown:
        raise HarnessError(f"cells of unplanned methods {sorted(unknown)}", where=str(store.path), fix="sweep again")
    return RunData(
        store,
        manifest,
        {label: _method(label, planned, manifest, records) for label, planned in manifest.methods.items()},
    )


def _method(label: str, planned: PlannedMethod, manifest: Manifest, records: Mapping[str, CellRecord]) -> MethodData:
    cells = [cell for cell in manifest.cells if cell.label == label]
    own = {cell.key: records[cell.key] for cell in cells if cell.key in records}
    shape = (len(manifest.seeds), len(manifest.pairs))
    scores, test, ran = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    rows = {seed: number for number, seed in enumerate(manifest.seeds)}
    columns = {pair: number for number, pair in enumerate(manifest.pairs)}
    selection = manifest.selection
    for record in own.values():
        row = rows.get(record.seed)
        if row is None or record.status not in ("done", "diverged"):
            continue
        if record.status == "diverged":
            ran[row, _places(record.pairs, columns)] = True
        for entry in record.metrics:
            column = columns.get((entry.image, entry.text))
            if column is not None:
                ran[row, column] = True
                scores[row, column] = _number(entry.score)
                test[row, column] = _number(entry.test.get(selection.task, {}).get(selection.metric))
    score_higher = planned.kind == "score" or selection.higher_is_better
    return MethodData(label, planned, cells, own, scores, test, ran, score_higher, selection.higher_is_better)


def _places(pairs: Iterable[tuple[str, str]], columns: Mapping[tuple[str, str], int]) -> list[int]:
    return [columns[pair] for pair in pairs if pair in columns]


def _number(value: float | None) -> float:
    return float("nan") if value is None or not np.isfinite(value) else value
