"""A run as arrays: scores per seed and pair for every method."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from jaxtyping import Bool, Float, Integer

from harness.contract.metric import Metric
from harness.errors import Damaged, HarnessError
from harness.run.records import CellRecord, LedgerRecord, Manifest, PlannedMethod
from harness.run.store import RunStore
from harness.sweep.planned import PlannedCell
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
        rungs: ``[seeds, pairs]`` the rung that each pair reached, for a method that stops trailing pairs; else None.
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
    rungs: Integer[np.ndarray, "seeds pairs"] | None = None

    @property
    def ranking(self) -> Float[np.ndarray, "seeds pairs"]:
        """What orders the pairs, larger is better: ``scores``; with rungs the rung first, then the score there.

        A score at a lower rung comes from less training and cannot be compared with one from a higher rung.
        """
        better = oriented(self.scores, higher_is_better=self.score_higher)
        known = better[np.isfinite(better)]
        if self.rungs is None or not len(known):
            return better
        return better + self.rungs * (1.0 + known.max() - known.min())

    @property
    def quality(self) -> Float[np.ndarray, "seeds pairs"]:
        """``test``, larger is better."""
        return oriented(self.test, higher_is_better=self.metric_higher)

    def of_seed(self, seed: int) -> list[CellRecord]:
        """Finished cells of a seed, in plan order; a pair's rungs are one record: the last, with what all spent."""
        own = [record for record in self.records.values() if record.seed == seed]
        if self.rungs is None:
            return own
        by_pair: dict[tuple[tuple[str, str], ...], list[CellRecord]] = {}
        for record in own:
            by_pair.setdefault(tuple(record.pairs), []).append(record)
        return [_joined(records) for records in by_pair.values()]

    def complete(self, seed: int) -> bool:
        """Whether every planned cell of the seed has a record, whatever its status."""
        planned = [cell for cell in self.cells if cell.seed == seed]
        return bool(planned) and all(cell.key in self.records for cell in planned)


@dataclass(frozen=True)
class RunData:
    """A run: its plan and its methods, in the order of the plan; key -> what is damaged, and counts as missing."""

    store: RunStore
    manifest: Manifest
    methods: dict[str, MethodData]
    damaged: Mapping[str, Damaged] = field(default_factory=dict)

    @property
    def reference(self) -> MethodData | None:
        """The reference method, when the run has one."""
        return self.methods.get(self.manifest.reference) if self.manifest.reference else None

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics of the selection's task, as declared."""
        task = self.manifest.selection.task
        return next((entry.metrics for entry in self.manifest.tasks if entry.label == task), {})

    @property
    def encoders(self) -> Integer[np.ndarray, "pairs 2"]:
        """Number of the image encoder and of the text encoder of every pair."""
        images, texts = zip(*self.manifest.pairs, strict=True)
        return np.stack([_numbered(images), _numbered(texts)], axis=1)


def load(store: RunStore) -> RunData:
    """Read a run, finished or not.

    Raises:
        HarnessError: No run here, a damaged plan, or a plan that contradicts itself.
    """
    manifest = store.manifest()
    found = store.survey(manifest.cells, keep=True)
    unknown = {cell.label for cell in manifest.cells} - set(manifest.methods)
    if unknown:
        raise HarnessError(f"cells of unplanned methods {sorted(unknown)}", where=store.where, fix="sweep again")
    return RunData(
        store,
        manifest,
        {label: _method(label, planned, manifest, found.records) for label, planned in manifest.methods.items()},
        found.damaged,
    )


def _method(label: str, planned: PlannedMethod, manifest: Manifest, records: Mapping[str, CellRecord]) -> MethodData:
    planned_cells = [cell for cell in manifest.cells if cell.label == label]
    skipped = {key for key, record in records.items() if record.status == "skipped"}
    cells = [cell for cell in planned_cells if cell.key not in skipped]
    own = {cell.key: records[cell.key] for cell in cells if cell.key in records}
    rung_of = {cell.key: cell.rung for cell in cells if cell.rung is not None}
    rungs = np.zeros((len(manifest.seeds), len(manifest.pairs)), dtype=np.int64)
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
            scores[row, _places(record.pairs, columns)] = np.nan
        ran[row, _places(((pair.image, pair.text) for pair in record.lost), columns)] = True
        for entry in record.metrics:
            column = columns.get((entry.image, entry.text))
            if column is not None:
                ran[row, column] = True
                rungs[row, column] = rung_of.get(record.key, 0)
                scores[row, column] = _number(entry.score)
                test[row, column] = _number(entry.test.get(selection.task, {}).get(selection.metric))
    score_higher = planned.kind == "score" or selection.higher_is_better
    return MethodData(
        label,
        planned,
        cells,
        own,
        scores,
        test,
        ran,
        score_higher,
        selection.higher_is_better,
        rungs if rung_of else None,
    )


def _numbered(names: Iterable[str]) -> Integer[np.ndarray, " names"]:
    """Number of every name, in the order of first appearance."""
    names = list(names)
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names])


def _joined(records: list[CellRecord]) -> CellRecord:
    """One pair's rungs, in order, as one record without a curve: checkpoints of pairs that stopped do not go on."""
    ledger = reduce(LedgerRecord.plus, (record.ledger for record in records))
    spent = {"wall_s": sum(r.wall_s for r in records), "device_s": sum(r.device_s for r in records)}
    return records[-1].model_copy(update={"ledger": ledger, "curve": [], **spent})


def _places(pairs: Iterable[tuple[str, str]], columns: Mapping[tuple[str, str], int]) -> list[int]:
    return [columns[pair] for pair in pairs if pair in columns]


def _number(value: float | None) -> float:
    return float("nan") if value is None or not np.isfinite(value) else value
