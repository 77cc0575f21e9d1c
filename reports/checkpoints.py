"""A method's curve over one seed: its cells' checkpoints put together, read at any number of updates per pair."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.run.records import CellRecord
from reports.compare import Comparison, compare
from reports.ranking import oriented
from reports.rundata import MethodData, RunData
from reports.scores import ReferenceScores, seed_mean
from reports.spending import held

_SAME = 1e-6
"""Updates closer than this (relatively) are the same point."""


@dataclass(frozen=True)
class Point:
    """A method cut short.

    Attributes:
        updates: Updates per pair.
        samples: Samples per pair.
        epoch: Epochs (mean over cells).
        flops: FLOPs of all its cells so far.
        seconds: Device-seconds of all its cells so far.
        scores: ``[pairs]`` what it ranks by, larger is better; NaN where a pair has no number.
    """

    updates: float
    samples: float
    epoch: float
    flops: float
    seconds: float
    scores: Float[np.ndarray, " pairs"]


class Curve:
    """All cells of one method and seed.

    A cell's curve starts at nothing spent. A cell without checkpoints is one point: its end. FLOPs and seconds are
    interpolated linearly in updates and stay where they end; scores are those of the nearest checkpoint not above.

    Args:
        data: The method.
        run: The run.
        seed: The seed.
    """

    def __init__(self, data: MethodData, run: RunData, seed: int) -> None:
        self.records = [record for record in data.of_seed(seed) if record.status in ("done", "diverged")]
        self._spent = [r.ledger.total for r in data.of_seed(seed) if r.status not in ("done", "diverged")]
        self._higher = data.score_higher
        self._pairs = {pair: number for number, pair in enumerate(run.manifest.pairs)}
        self._tables = [_table(record) for record in self.records]
        self.stops_pairs = data.rungs is not None
        self._ranking = data.ranking[list(run.manifest.seeds).index(seed)] if self.stops_pairs else None

    @property
    def reach(self) -> float:
        """Updates per pair that every finished cell reached; 0 when there is none.

        The most updates of any pair where trailing ones are stopped: such a method has one point, its end.
        """
        ends = [t[-1, 0] for t, r in zip(self._tables, self.records, strict=True) if r.status == "done"]
        return float((max if self.stops_pairs else min)(ends, default=0.0))

    def checkpoints(self) -> list[float]:
        """Updates per pair at which scores were recorded, in order, up to the reach."""
        values: list[float] = []
        if self.stops_pairs:
            return values
        for value in sorted({float(v) for table in self._tables for v in table[1:, 0]}):
            within = value <= self.reach * (1 + _SAME)
            if within and (not values or value - values[-1] > _SAME * max(value, 1.0)):
                values.append(value)
        return values

    @property
    def ends(self) -> list[float]:
        """Updates per pair at which each finished cell ended."""
        return [float(t[-1, 0]) for t, r in zip(self._tables, self.records, strict=True) if r.status == "done"]

    def shared(self) -> list[float]:
        """Updates per pair at which every finished cell has scores, in order; none where trailing pairs are stopped."""
        if self.stops_pairs:
            return []
        done = [t[1:, 0] for t, r in zip(self._tables, self.records, strict=True) if r.status == "done"]
        alike: dict[bytes, Float[np.ndarray, " checkpoints"]] = {own.tobytes(): own for own in done}  # of a grid, all
        return [
            float(v)
            for v in (done[0] if done else ())
            if all(np.isclose(own, v, rtol=_SAME).any() for own in alike.values())
        ]

    def at(self, updates: float) -> Point:
        """The method cut at this many updates per pair."""
        return self._point(updates, [updates] * len(self.records))

    def end(self) -> Point:
        """Every cell at its own end; a diverged one has no scores there."""
        stops = [
            float(table[-1, 0]) if record.status == "done" else float("inf")
            for record, table in zip(self.records, self._tables, strict=True)
        ]
        pairs = [len(record.pairs) for record in self.records if record.status == "done"]
        return self._point(float(np.average(self.ends, weights=pairs)) if pairs else 0.0, stops)

    def _point(self, updates: float, stops: list[float]) -> Point:
        scores = np.full(len(self._pairs), np.nan)
        for record, table, stop in zip(self.records, self._tables, stops, strict=True):
            for pair, score in zip(record.pairs, self._scores(record, table, stop), strict=True):
                if pair in self._pairs:
                    scores[self._pairs[pair]] = score
        table = self._spent_at(np.array(stops))
        samples, epoch = table[:, 2:].mean(axis=0) if len(table) else (0.0, 0.0)
        return Point(
            updates,
            float(samples),
            float(epoch),
            float(table[:, 0].sum() + sum(self._spent)),
            float(table[:, 1].sum()),
            oriented(scores, higher_is_better=self._higher) if self._ranking is None else self._ranking,
        )

    def _spent_at(self, stops: Float[np.ndarray, " cells"]) -> Float[np.ndarray, "cells 4"]:
        """What each cell had spent at its number of updates, between checkpoints linearly, as ``np.interp`` does.

        Cells of equally many checkpoints together, because a large grid has ten thousand of them.
        """
        found = np.empty((len(self._tables), 4))
        lengths = np.array([len(table) for table in self._tables], dtype=int)
        for length in np.unique(lengths):
            cells = np.flatnonzero(lengths == length)
            tables, stop = np.stack([self._tables[cell] for cell in cells]), stops[cells]
            after = (tables[:, :, 0] <= stop[:, None]).sum(axis=1)
            at = np.arange(len(cells)), np.clip(after - 1, 0, length - 1)
            low, high = tables[at], tables[at[0], np.clip(after, 0, length - 1)]
            step = high[:, 0] - low[:, 0]
            share = np.where((step > 0) & (after > 0), stop - low[:, 0], 0.0)
            share = np.where(np.isfinite(share), share, 0.0)[:, None]
            slope = (high[:, 1:] - low[:, 1:]) / np.where(step > 0, step, 1.0)[:, None]
            found[cells] = slope * share + low[:, 1:]
        return found

    def points(self) -> list[Point]:
        """One point per checkpoint."""
        return [self.at(updates) for updates in self.checkpoints()]

    def _scores(self, record: CellRecord, table: np.ndarray, updates: float) -> list[float]:
        reached = int(np.searchsorted(table[:, 0], updates * (1 + _SAME), side="right")) - 1
        beyond = updates > table[-1, 0] * (1 + _SAME) and record.status == "diverged"
        if beyond or (reached < 1 and record.curve):
            return [float("nan")] * len(record.pairs)
        if record.curve:
            return [float("nan") if score is None else score for score in record.curve[reached - 1].scores]
        by_pair = {(entry.image, entry.text): entry.score for entry in record.metrics}
        return [by_pair.get(pair, float("nan")) for pair in record.pairs]


def _table(record: CellRecord) -> Float[np.ndarray, "points 5"]:
    """Updates, FLOPs, device-seconds, samples and epochs, from nothing spent to the last checkpoint."""
    rows = [
        (c.updates_per_pair, c.flops, c.seconds * held(record), c.samples_per_pair, c.epoch) for c in record.curve
    ] or [(record.updates_per_pair, record.ledger.total, record.device_s * held(record), record.samples_per_pair, 0.0)]
    return np.array([(0.0,) * 5, *rows])


def curves_of(data: MethodData, run: RunData) -> dict[int, Curve]:
    """Curves of the seeds whose cells all have a record."""
    return {seed: Curve(data, run, seed) for seed in run.manifest.seeds if data.complete(seed)}


def mean_point(points: Mapping[int, Point]) -> Point:
    """Mean over seeds of points that belong together."""

    def mean(values: Iterable[float]) -> float:
        return float(np.mean(list(values)))

    every = points.values()
    return Point(
        updates=mean(p.updates for p in every),
        samples=mean(p.samples for p in every),
        epoch=mean(p.epoch for p in every),
        flops=mean(p.flops for p in every),
        seconds=mean(p.seconds for p in every),
        scores=seed_mean(np.stack([p.scores for p in every])),
    )


def ranked(
    truth: ReferenceScores, data: MethodData, run: RunData, points: Mapping[int, Point], *, own: bool
) -> Comparison:
    """Rank statistics, without intervals, of a method cut at these points (seed -> point).

    Args:
        truth: The reference's test scores at its full budget.
        data: The method.
        run: The run.
        points: Where each seed is cut; seeds that are not here are left out.
        own: The method is the reference.
    """
    scores, ran = np.full_like(data.scores, np.nan), data.ran.copy()
    for row, seed in enumerate(run.manifest.seeds):
        if seed in points:
            scores[row] = points[seed].scores
        else:
            ran[row] = False
    return compare(truth, scores, ran, own=own, intervals=False)
