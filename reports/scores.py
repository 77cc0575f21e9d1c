"""Test scores of a method with their joint resamples: what rankings are compared with, and what is delivered.

Every method of a run is resampled with the same weights over test units (images, or groups where the split is by
group), so that differences between methods are paired.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Integer

from harness.contract.metric import measured
from reports import ranking
from reports.bootstrap import (
    RESAMPLES,
    RESAMPLES_SLOW,
    PairQueries,
    draw_weights,
    is_slow,
    pair_queries,
    resampled_scores,
)
from reports.rundata import MethodData, RunData

Matrix: TypeAlias = Float[np.ndarray, "seeds pairs"]
Cube: TypeAlias = Float[np.ndarray, "draws seeds pairs"]


@dataclass(frozen=True)
class ReferenceScores:
    """A method's test scores (most often the reference's), larger is better; NaN where there is no number.

    Attributes:
        scores: ``[seeds, pairs]`` on the test units as they are.
        ran: ``[seeds, pairs]`` the method has a verdict (a number, or diverged: ranked last).
        higher_is_better: Of the metric as written.
        draws: ``[resamples, seeds, pairs]`` under the bootstrap; None without stored queries.
        units: Test units that were resampled; 0 without stored queries.
        encoders: ``[pairs, 2]`` number of the image and of the text encoder of every pair; None where it is not known.
    """

    scores: Matrix
    ran: Bool[np.ndarray, "seeds pairs"]
    higher_is_better: bool
    draws: Cube | None = None
    units: int = 0
    encoders: Integer[np.ndarray, "pairs 2"] | None = None

    @property
    def mean(self) -> Float[np.ndarray, " pairs"]:
        """Mean over the seeds that have a number."""
        return seed_mean(self.scores)

    def within(self, allowed: Bool[np.ndarray, " pairs"]) -> "ReferenceScores":
        """Without a verdict on any other pair."""
        return replace(self, scores=np.where(allowed, self.scores, np.nan), ran=self.ran & allowed)

    @property
    def known(self) -> Bool[np.ndarray, " pairs"]:
        """Pairs with a verdict in any seed."""
        return np.asarray(self.ran.any(axis=0))


def seed_mean(scores: Float[np.ndarray, "*draws seeds pairs"]) -> Float[np.ndarray, "*draws pairs"]:
    """Mean over the seeds that have a number; NaN where none has."""
    known = np.isfinite(scores)
    if scores.shape[-2] == 1:  # with nothing to add up, a large grid's draws are copied once and not four times
        return np.where(known, scores, np.nan)[..., 0, :]
    count = known.sum(axis=-2)
    total = np.where(known, scores, 0.0).sum(axis=-2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def met_seeds(truth: ReferenceScores, row: int, *, own: bool) -> Bool[np.ndarray, " seeds"]:
    """Seeds of the reference whose mean a method's seed is compared with: all but the same one.

    So every row of a table stands on one footing: the reference cannot meet itself, and a method that hands over the
    reference's own connectors does not do so either. Where only one seed of the reference has run, that one is met by
    all methods but the reference.

    Args:
        truth: The reference's test scores.
        row: Number of the method's seed.
        own: The method is the reference.
    """
    present = np.asarray(truth.ran.any(axis=1))
    if present.sum() == 1 and not own:
        return present
    return present & (np.arange(len(present)) != row)


def test_scores(
    run: RunData, data: MethodData, *, seed: int = 0, among: Bool[np.ndarray, " pairs"] | None = None
) -> ReferenceScores:
    """A method's test scores with their resamples; without resamples where no queries are stored.

    Args:
        run: The run.
        data: The method.
        seed: Of the resampling; the same seed gives every method of the run the same weights.
        among: Pairs to resample, all by default: reading a large grid's queries takes long, and often one pair is
            asked for. The draws of the others are NaN.
    """
    wanted = np.ones(len(run.manifest.pairs), dtype=bool) if among is None else among
    columns, units = _columns(run, data, wanted)
    metrics, metric = run.metrics, run.manifest.selection.metric
    found = ReferenceScores(data.quality, data.ran, data.metric_higher, encoders=run.encoders)
    if metric not in metrics or not units.size:
        return found
    resamples = RESAMPLES_SLOW if is_slow(metrics, metric) else RESAMPLES
    weights = draw_weights(int(units.max()) + 1, present=units, resamples=resamples, seed=seed)
    drawn = resampled_scores(columns, metrics, metric, weights).reshape(resamples, *data.test.shape)
    return replace(found, draws=ranking.oriented(drawn, higher_is_better=data.metric_higher), units=len(units))


def reference_scores(run: RunData, reference: MethodData, *, seed: int = 0) -> ReferenceScores:
    """The reference's ``test_scores``: what rankings are compared with."""
    return test_scores(run, reference, seed=seed)


def _columns(
    run: RunData, data: MethodData, among: Bool[np.ndarray, " pairs"]
) -> tuple[list[PairQueries | None], Integer[np.ndarray, " units"]]:
    """Stored queries per (seed, pair), and the test units they cover."""
    manifest = run.manifest
    task = manifest.selection.task
    columns: list[PairQueries | None] = [None] * data.test.size
    places = {pair: number for number, pair in enumerate(manifest.pairs) if among[number]}
    asked = _asked(run)

    def wanted(name: str) -> bool:
        return name.endswith("/unit") or name.rpartition("/")[2] in asked

    for record in data.records.values():
        if record.seed not in manifest.seeds or record.status not in ("done", "diverged"):
            continue
        if not any(pair in places for pair in record.pairs):
            continue
        arrays = run.store.queries(record.key, wanted)
        row = manifest.seeds.index(record.seed)
        for number, pair in enumerate(record.pairs):
            if pair in places and np.isfinite(data.test[row, places[pair]]):
                columns[row * len(manifest.pairs) + places[pair]] = pair_queries(arrays, number, task, run.metrics)
    units = [values for column in columns if column for values in column.unit.values()]
    return columns, np.unique(np.concatenate(units)) if units else np.empty(0, dtype=int)


def _asked(run: RunData) -> set[str]:
    """The metrics to read: what the selection metric is made of, and one of each other kind of query for its units."""
    metrics, metric = run.metrics, run.manifest.selection.metric
    found = set(measured(metrics, [metric])) if metric in metrics else set()
    for name in measured(metrics):
        if metrics[name].query not in {metrics[other].query for other in found}:
            found.add(name)
    return found
