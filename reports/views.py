"""The views: every ratio between the reference and a method beside the budget it belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.compare import Comparison, ReferenceScores
from reports.costs import MethodCost, ratio
from reports.curves import Curve, Point, curves_of, mean_point, ranked
from reports.rundata import MethodData, RunData
from reports.schema import CostRatio, Spent, ViewEntry, Views

PAPER_BATCH, PAPER_ROWS = 16_384, 558_128
"""Batch size and training rows of the published grid search."""


@dataclass(frozen=True)
class CutReference:
    """How the reference itself ranks when cut to the budget of a view (leave-one-seed-out)."""

    spearman: float = float("nan")
    regret: float = float("nan")


@dataclass(frozen=True)
class Side:
    """A method, its cost as run and its comparison as run."""

    data: MethodData
    cost: MethodCost
    comparison: Comparison


def views_of(
    run: RunData, truth: ReferenceScores, reference: Side, methods: Mapping[str, Side]
) -> tuple[Views, dict[str, dict[str, CutReference]]]:
    """All views of all methods but the reference.

    Returns:
        The views, and for the matched ones (view -> label) how the reference ranks at the same point.
    """
    ours = curves_of(reference.data, run)
    tables: dict[str, dict[str, ViewEntry]] = {name: {} for name in Views.model_fields}
    cuts: dict[str, dict[str, CutReference]] = {"matched_updates": {}, "matched_flops": {}}
    for label, side in methods.items():
        curves = curves_of(side.data, run)
        as_run = _as_run(side, reference)
        tables["as_run"][label] = as_run
        tables["matched_batch"][label] = _matched_batch(side, reference, as_run)
        for view, points in (("matched_updates", _at_same_updates), ("matched_flops", _at_same_flops)):
            found = points(curves, ours, side.cost, reference.cost)
            if isinstance(found, str):
                tables[view][label], cuts[view][label] = ViewEntry(note=found), CutReference()
            else:
                tables[view][label], cuts[view][label] = _matched(run, truth, side, reference, *found)
        tables["paper"][label] = paper(run, side.cost, reference.cost)
    return Views(**tables), cuts


def _as_run(side: Side, reference: Side) -> ViewEntry:
    note = None
    if not (side.cost.complete and reference.cost.complete):
        note = "no ratio: " + " and ".join(
            f"{s.data.label} has no seed with all its cells" for s in (side, reference) if not s.cost.complete
        )
    comparable = note is None
    return ViewEntry(
        cost_ratio=cost_ratio(side.cost, reference.cost),
        spearman=side.comparison.spearman.value,
        regret=side.comparison.regret.value,
        budget=side.cost.budget if comparable or side.cost.wall_s is not None else Spent(),
        reference_budget=reference.cost.budget,
        note=note,
    )


def cost_ratio(cost: MethodCost, reference: MethodCost) -> CostRatio:
    """Reference / method as run; null while either is incomplete."""
    if not (cost.complete and reference.complete):
        return CostRatio()
    return CostRatio(flops=ratio(reference.flops.total, cost.flops.total), wall=ratio(reference.wall_s, cost.wall_s))


def _matched_batch(side: Side, reference: Side, as_run: ViewEntry) -> ViewEntry:
    own, theirs = side.cost.batch_size, reference.cost.batch_size
    if own is None or theirs is None:
        return ViewEntry(note=f"{(side if own is None else reference).data.label} has no single batch size")
    if own != theirs:
        return ViewEntry(note=f"batch sizes differ: {own} against {theirs}")
    return as_run


def _at_same_updates(
    curves: Mapping[int, Curve], ours: Mapping[int, Curve], cost: MethodCost, reference: MethodCost
) -> tuple[dict[int, Point], dict[int, Point]] | str:
    """The largest number of updates per pair that both reach; at equal batch sizes samples are equal too."""
    if not curves or not ours:
        return "no seed with all its cells on both sides"
    if cost.batch_size is None or reference.batch_size is None:
        return "one side has no updates of a single batch size"
    if cost.batch_size != reference.batch_size:
        return (
            f"updates and samples per pair cannot both be equal: batch sizes {cost.batch_size} against "
            f"{reference.batch_size}"
        )
    if any(curve.stops_pairs for side in (curves, ours) for curve in side.values()):
        return "one side stops trailing pairs: its pairs have different numbers of updates"
    updates = min(curve.reach for side in (curves, ours) for curve in side.values())
    if updates <= 0:
        return "one side has no finished cell with updates"
    return tuple({seed: curve.at(updates) for seed, curve in side.items()} for side in (curves, ours))  # type: ignore[return-value]


def _at_same_flops(
    curves: Mapping[int, Curve], ours: Mapping[int, Curve], cost: MethodCost, reference: MethodCost
) -> tuple[dict[int, Point], dict[int, Point]] | str:
    """Each side's best point within the smaller of both totals."""
    if not curves or not ours or not cost.flops.total or not reference.flops.total:
        return "no seed with all its cells on both sides, or nothing spent"
    limit = min(cost.flops.total, reference.flops.total)
    found = []
    for side, name in ((curves, "the method"), (ours, "the reference")):
        points = {seed: best_under(curve.points() or [curve.end()], limit) for seed, curve in side.items()}
        kept = {seed: point for seed, point in points.items() if point is not None}
        if not kept:
            return f"{name} has no checkpoint within {limit:.3g} FLOPs, the other side's total"
        found.append(kept)
    return found[0], found[1]


def best_under(points: Sequence[Point], limit: float) -> Point | None:
    """The point with the best mean validation score among those within a limit of FLOPs, the cheaper on ties.

    Every seed's cost may lie a little off the mean over seeds that the limit is made of, hence 1 % of slack.
    """
    within = [p for p in points if p.flops <= limit * 1.01 and np.isfinite(p.scores).any()]
    return max(within, key=lambda p: (float(np.nanmean(p.scores)), -p.flops), default=None)


def _matched(
    run: RunData, truth: ReferenceScores, side: Side, reference: Side, ours: dict[int, Point], theirs: dict[int, Point]
) -> tuple[ViewEntry, CutReference]:
    found = ranked(truth, side.data, run, ours, own=False)
    cut = ranked(truth, reference.data, run, theirs, own=True)
    mine, grid = mean_point(ours), mean_point(theirs)
    entry = ViewEntry(
        cost_ratio=CostRatio(flops=ratio(grid.flops, mine.flops), wall=ratio(grid.seconds, mine.seconds)),
        spearman=found.spearman.value,
        regret=found.regret.value,
        budget=_budget(mine, side.cost),
        reference_budget=_budget(grid, reference.cost),
    )
    return entry, CutReference(cut.spearman.value, cut.regret.value)


def _budget(point: Point, cost: MethodCost) -> Spent:
    return Spent(
        batch_size=cost.batch_size,
        updates_per_pair=point.updates,
        samples_per_pair=point.samples,
        flops=point.flops,
    )


def grid_step_flops(source: int, target: int, batch: int, *, hidden_layers: int = 0, width: int = 1024) -> float:
    """Forward and backward products of one connector's step, the published way.

    A linear connector T -> I costs ``4 B T I`` (its frozen input needs no gradient) plus ``4 B^2 I`` for the logits;
    every further layer costs ``6 B in out``.

    Args:
        source: Dimension that is mapped (T).
        target: Dimension of the other side (I).
        batch: B.
        hidden_layers: Of the connector.
        width: Of its hidden layers.
    """
    sizes = [source, *[width] * hidden_layers, target]
    layers = [(4 if n == 0 else 6) * batch * i * o for n, (i, o) in enumerate(zip(sizes, sizes[1:], strict=False))]
    return float(sum(layers) + 4 * batch * batch * target)


def paper(run: RunData, cost: MethodCost, reference: MethodCost) -> ViewEntry:
    """The published setting, counted and not run: a grid at B = 16,384 on 558,128 rows against the method.

    The grid: every pair trained for the reference's epochs as run, ``floor(558128 / 16384)`` = 34 steps an epoch,
    each of ``grid_step_flops``. The method: its own counted training FLOPs (connector + logits + hypernet, as the
    papers count: no optimiser, no evaluation) times ``floor(558128 / B) / floor(training images / B)`` at its own
    batch size B, that is the same epochs over the larger data. Rank quality is not known there: null.
    """
    manifest = run.manifest
    images = manifest.rows.get("train", 0)
    own, theirs = cost.batch_size, reference.batch_size
    if not own or not theirs or not cost.training_flops or not (cost.complete and reference.complete):
        return ViewEntry(note="counted, not run: one side has no counted training steps of a single batch size")
    if min(images // own, images // theirs) == 0:
        return ViewEntry(note="counted, not run: the run's training rows are unknown or fewer than a batch")
    if manifest.connector.get("kind") not in ("linear", "mlp"):
        return ViewEntry(note="counted, not run: the papers' connectors are linear or MLPs")
    dims = {encoder.id: encoder.dim for encoder in (*manifest.image_encoders, *manifest.text_encoders)}
    backwards = manifest.connector.get("direction") == "image_to_text"
    epochs = (reference.updates_per_pair or 0.0) / (images // theirs)
    steps = PAPER_ROWS // PAPER_BATCH
    shape = {
        "hidden_layers": int(manifest.connector.get("hidden_layers", 0)),
        "width": int(manifest.connector.get("width", 1024)),
    }
    grid = (
        epochs
        * steps
        * sum(
            grid_step_flops(*((dims[i], dims[t]) if backwards else (dims[t], dims[i])), PAPER_BATCH, **shape)
            for i, t in manifest.pairs
        )
    )
    scale = (PAPER_ROWS // own) / (images // own)
    updates = scale * (cost.updates_per_pair or 0.0)
    return ViewEntry(
        cost_ratio=CostRatio(flops=ratio(grid, scale * cost.training_flops)),
        budget=Spent(
            batch_size=own, updates_per_pair=updates, samples_per_pair=updates * own, flops=scale * cost.training_flops
        ),
        reference_budget=Spent(
            batch_size=PAPER_BATCH,
            updates_per_pair=epochs * steps,
            samples_per_pair=epochs * steps * PAPER_BATCH,
            flops=grid,
        ),
        note="counted, not run",
    )
