"""What a tracker is told of a cell: the page that the author of a tracker reads.

The store stays the truth: a tracker is fed from the records in it, in the process that drives the sweep, and a tracker
that breaks down stops nothing.
"""

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from harness.contract.registry import Registry
from harness.errors import Damaged, HarnessError
from harness.run.backends.base import Listener
from harness.run.records import CellRecord
from harness.run.store import RunStore
from harness.sweep.planned import PlannedCell

log = logging.getLogger(__name__)

FOLDER = "trackers"
"""Below the run's folder; of a run on remote storage, below the current one."""


@dataclass(frozen=True)
class CurvePoint:
    """Numbers at one optimiser step."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrackedCell:
    """One finished cell, as trackers want it.

    Attributes:
        run: Name of the run.
        key: The cell's key.
        name: For people: label, seed, and the pair where there is one only.
        config: What was run.
        curve: Scores and costs at each checkpoint, in order of steps.
        summary: The numbers at the end.
        status: ``done``, or why not.
        error: One line, if it failed.
    """

    run: str
    key: str
    name: str
    config: Mapping[str, str | int | float]
    curve: Sequence[CurvePoint]
    summary: Mapping[str, float]
    status: str
    error: str


class Tracker(Protocol):
    """A tracker: a class that is built with the folder that it may write to."""

    package: ClassVar[str]
    """What must be installed."""

    def __init__(self, folder: Path) -> None: ...

    def write(self, cell: TrackedCell) -> None:
        """Write one finished cell. Told of every cell once."""
        ...


TRACKERS: Registry[type[Tracker]] = Registry(
    "tracker",
    {
        "tensorboard": "harness.run.trackers.tensorboard:TensorBoard",
        "wandb": "harness.run.trackers.wandb:WeightsAndBiases",
        "mlflow": "harness.run.trackers.mlflow:MLflow",
    },
    group="harness.trackers",
)


def check_trackers(names: Sequence[str]) -> None:
    """Fail now if a tracker is unknown or its package is not installed.

    Raises:
        HarnessError: One line with what to install.
    """
    for name in names:
        package = TRACKERS.get(name).package
        if importlib.util.find_spec(package) is None:
            what = f"tracker {name!r} needs the package {package}, which is not installed"
            raise HarnessError(what, where="trackers", fix=f"pip install {package}")


def tracked(run: str, record: CellRecord) -> TrackedCell:
    """A record as trackers want it. Numbers of several pairs are means over them; each pair's stand beside them."""
    pairs = [f"{image} x {text}" for image, text in record.pairs]
    curve = []
    for point in record.curve:
        scores = {pair: score for pair, score in zip(pairs, point.scores, strict=True) if score is not None}
        values = {"flops": point.flops, "seconds": point.seconds, "epoch": point.epoch}
        values |= {"score": sum(scores.values()) / len(scores)} if scores else {}
        values |= {f"score/{pair}": score for pair, score in scores.items()} if len(pairs) > 1 else {}
        curve.append(CurvePoint(point.step, values))
    found: dict[str, list[float]] = {}
    for metrics in record.metrics:
        found.setdefault("final/score", []).append(metrics.score)
        for split, tasks in (("validation", metrics.validation), ("test", metrics.test)):
            for task, numbers in tasks.items():
                for metric, value in numbers.items():
                    found.setdefault(f"{split}/{task}/{metric}", []).append(value)
    summary = {name: sum(values) / len(values) for name, values in found.items()}
    summary |= {"total/flops": record.ledger.total, "total/seconds": record.wall_s}
    config = {
        "method": record.method,
        "label": record.label,
        "seed": record.seed,
        "pairs": len(pairs),
        "batch_size": record.batch_size or 0,
        "trained_params": record.trained_params,
    }
    only = f" {pairs[0]}" if len(pairs) == 1 else ""
    return TrackedCell(
        run=run,
        key=record.key,
        name=f"{record.label} seed {record.seed}{only}",
        config=config,
        curve=curve,
        summary=summary,
        status=record.status,
        error=record.error or "",
    )


class Tracking:
    """Trackers of one run. What each was told is noted in its folder, so that no cell is told twice.

    Args:
        names: Registered names.
        run: Name of the run.
        where: The run's folder, or its URL.
    """

    def __init__(self, names: Sequence[str], run: str, where: str) -> None:
        root = Path(FOLDER) / run if "://" in where else Path(where) / FOLDER
        self._run = run
        self._open = {name: TRACKERS.get(name)(root / name) for name in names}
        self._told = {name: root / name / ".told" for name in names}

    def tell(self, record: CellRecord) -> None:
        """Tell every tracker of a finished cell. One that raises is not told any more."""
        for name, tracker in list(self._open.items()):
            note = self._told[name] / record.key
            if note.exists():
                continue
            try:
                tracker.write(tracked(self._run, record))
                note.parent.mkdir(parents=True, exist_ok=True)
                note.touch()
            except Exception as error:  # whatever the library, its disk or its server says: the sweep goes on
                line = " ".join(str(error).split())[:300]
                log.warning("tracker %s is not told any more: %s: %s", name, type(error).__name__, line)
                del self._open[name]

    def catch_up(self, store: RunStore, keys: Sequence[str]) -> None:
        """Tell of cells that had finished before."""
        for key in keys if self._open else ():
            try:
                self.tell(store.record(key))
            except Damaged:
                continue  # it is made again

    def heard(self, listener: Listener) -> Listener:
        """A listener that tells the trackers too."""
        return _Told(listener, self) if self._open else listener


@dataclass(frozen=True)
class _Told:
    listener: Listener
    tracking: Tracking

    def started(self, cell: PlannedCell) -> None:
        """A cell began to run."""
        self.listener.started(cell)

    def finished(self, record: CellRecord) -> None:
        """A cell's record is on disk."""
        self.tracking.tell(record)
        self.listener.finished(record)
