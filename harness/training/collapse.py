"""Has a training collapsed? A connector at chance, on validation data and on the data it was trained on."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional

from harness.contract.connector import Connector
from harness.contract.pairs import Pair
from harness.contract.problem import Problem
from harness.contract.seeding import stream
from harness.contract.split import Batch

LEAST_UPDATES = 20
"""Updates per pair below which being at chance may be too little training, and is only warned of."""

DRAWS = 50
"""Random answers drawn to learn what chance gives."""

ROWS = 2048
"""Training images that a suspicious connector is tried on."""

SPREADS = 2.0
"""Standard deviations around chance that still count as chance."""


def collapsed(
    problem: Problem,
    scores: Mapping[Pair, float],
    connectors: Mapping[Pair, Connector],
    updates: float,
    history: Sequence[float] = (),
) -> tuple[str | None, tuple[str, ...]]:
    """Why a trained cell counts as collapsed (None: it does not), and warnings of single pairs that are.

    The mean over the pairs must be at chance on validation data *and* on training data. The second is what tells a
    collapse from an encoder that has little to say: its connector still fits what it was trained on, be it barely.
    Even so one pair alone may be that weak, so a cell of one pair has collapsed only if it was above chance before;
    otherwise it keeps its score, with a warning.

    Args:
        problem: The cell's problem.
        scores: Validation score of each pair.
        connectors: Connector of each pair, on the CPU.
        updates: Updates each pair received (mean).
        history: Mean score at the checkpoints before.
    """
    few = updates < LEAST_UPDATES
    if problem.chance is None or (few and len(scores) == 1):
        return None, ()
    rng = stream(0, "chance")
    draws = np.array([problem.chance(rng) for _ in range(DRAWS)])
    sign = 1 if problem.higher_is_better else -1
    limit = draws.mean() + sign * SPREADS * draws.std()
    low = [pair for pair, score in scores.items() if sign * (score - limit) <= 0]
    mean = float(np.mean(list(scores.values())))
    whole = sign * (mean - limit) <= 0
    rows = min(ROWS, problem.sizes.train_images)
    batch = next(problem.batches(rows, 0))
    beaten = {pair: _beaten(problem, pair, connectors[pair], batch) for pair in (scores if whole else low)}
    # The mean of the uniform ranks of these rows has variance 1 / (12 rows).
    spread = SPREADS * math.sqrt(1 / (12 * rows))
    fell = len(scores) > 1 or any(sign * (before - limit) > 0 for before in history)
    if whole and np.mean(list(beaten.values())) <= 0.5 + spread / math.sqrt(len(scores)):
        found = f"score {mean:.4g} is at chance ({draws.mean():.4g}), also on training data"
        if few:
            return None, (f"{found}, after {updates:.3g} updates per pair: collapsed, or too little training to tell",)
        if fell:
            return found, ()
    if few:
        return None, ()
    gone = [pair for pair in low if beaten[pair] <= 0.5 + spread]
    if not gone:
        return None, ()
    first = " x ".join(gone[0])
    return None, (f"{len(gone)} of {len(scores)} pairs are at chance after training, first {first}",)


@torch.no_grad()
def _beaten(problem: Problem, pair: Pair, connector: Connector, batch: Batch) -> float:
    """Mean share of the batch's other targets that are farther than the own one, ties half: 0.5 by chance."""
    source, target = batch.sides(pair, problem.sizes.direction)
    similarity = functional.normalize(connector.to(problem.device)(source), dim=-1) @ target.T
    own = similarity.diagonal()[:, None]
    rows = len(similarity)
    beaten = (similarity < own).sum(1) + ((similarity == own).sum(1) - 1) / 2
    return (beaten.double() / (rows - 1)).mean().item()
