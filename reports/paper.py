"""The published setting, counted and not run: the grid of the papers against a method of the run."""

from harness.run.records import Manifest
from reports.rundata import RunData
from reports.schema import CostRatio, Pair, Spent, ViewEntry
from reports.spending import MethodCost, ratio

PAPER_BATCH, PAPER_ROWS = 16_384, 558_128
"""Batch size and training rows of the published grid search."""


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


def has_closed_form(manifest: Manifest) -> bool:
    """Whether a step of the run's connectors is counted by ``pair_step_flops``."""
    return manifest.connector.get("kind") in ("linear", "mlp")


def pair_step_flops(manifest: Manifest, pair: Pair, batch: int) -> float:
    """``grid_step_flops`` of one pair of a run."""
    connector = manifest.connector
    dims = {encoder.id: encoder.dim for encoder in (*manifest.image_encoders, *manifest.text_encoders)}
    image, text = dims[pair[0]], dims[pair[1]]
    source, target = (image, text) if connector.get("direction") == "image_to_text" else (text, image)
    hidden, width = int(connector.get("hidden_layers", 0)), int(connector.get("width", 1024))
    return grid_step_flops(source, target, batch, hidden_layers=hidden, width=width)


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
    if not has_closed_form(manifest):
        return ViewEntry(note="counted, not run: the papers' connectors are linear or MLPs")
    epochs = (reference.updates_per_pair or 0.0) / (images // theirs)
    steps = PAPER_ROWS // PAPER_BATCH
    grid = epochs * steps * sum(pair_step_flops(manifest, pair, PAPER_BATCH) for pair in manifest.pairs)
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
