"""What a cell's method is given, and a check of what it gives back."""

import math
import time

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from harness.contract.connector import Connector, as_connector
from harness.contract.fit import Fit, Progress
from harness.contract.keeping import Keeper
from harness.contract.ledger import Ledger
from harness.contract.metric import contributions, values
from harness.contract.pairs import Pair
from harness.contract.problem import Problem, UnitScores
from harness.contract.seeding import stream
from harness.contract.stopping import Rung
from harness.errors import HarnessError
from harness.run.attempts import Attempt
from harness.run.store import RunStore
from harness.run.watchdog import CellTimeout
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell


def problem_of(
    plan: Plan, store: RunStore, cell: PlannedCell, ledger: Ledger, attempt: Attempt, keeper: Keeper | None = None
) -> tuple[Problem, Progress]:
    """The problem of a cell, and what its method reports progress to.

    Raises:
        HarnessError: The cell asks for a device that is not there.
    """
    resolved, pairs, device = plan.resolved, tuple(cell.pairs), _device(cell)
    evaluation, metric = resolved.selection_evaluation, resolved.sweep.selection.metric
    view, queries = resolved.view("validation", device), resolved.scored

    def scorer(pair: Pair, connector: Connector) -> float:
        return values(evaluation.metrics, evaluation.measure(view, pair, connector, queries))[metric]

    def by_unit(pair: Pair, connector: Connector) -> tuple[float, UnitScores | None]:
        gave = evaluation.measure(view, pair, connector, queries)
        per_unit = contributions(evaluation.metrics, metric, gave, evaluation.units("validation"))
        return values(evaluation.metrics, gave)[metric], per_unit

    def chance(rng: np.random.Generator) -> float:
        return values(evaluation.metrics, evaluation.random("validation", rng, queries) or {})[metric]

    torch.manual_seed(cell.seed)
    problem = Problem(
        sizes=resolved.sizes(pairs),
        train=resolved.open(pairs, "train"),
        validation=resolved.open(pairs, "validation"),
        device=device,
        ledger=ledger,
        scorer=scorer,
        higher_is_better=resolved.higher_is_better,
        chance=None if evaluation.random("validation", stream(0, "chance"), queries) is None else chance,
        rung=_rung(plan, store, cell),
        ends=plan.ends.get(cell.label, ()),
        by_unit=by_unit,
        keeper=keeper,
    )
    return problem, _progress(plan, cell, attempt)


def _progress(plan: Plan, cell: PlannedCell, attempt: Attempt) -> Progress:
    limit, start = plan.methods[cell.label].config.resources.timeout_s, time.perf_counter()

    def progress(step: int, steps: int) -> None:
        attempt.note()
        if limit is not None and time.perf_counter() - start > limit:
            raise CellTimeout(f"stopped after {limit:g} s at step {step} of {steps}")

    return progress


def _device(cell: PlannedCell) -> torch.device:
    if not cell.gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise HarnessError(
            "the cell asks for a GPU and there is none here",
            where=f"methods.{cell.label}.resources",
            fix="set gpu: 0, or run on a machine with a GPU",
        )
    return torch.device("cuda")


def _rung(plan: Plan, store: RunStore, cell: PlannedCell) -> Rung | None:
    """Where a rung cell stops, and what the pair's rung before left; a lost state means to start again."""
    if cell.rung is None:
        return None
    below = plan.rung_before(cell)
    data = store.state(below.key) if below else None
    try:
        state = load(data) if data else None
    except SafetensorError:
        state = None
    return Rung(plan.methods[cell.label].rungs[cell.rung], state)


def checked_connectors(problem: Problem, fit: Fit) -> dict[Pair, Connector]:
    """The connectors of a Fit whose every pair has what it should have; empty for a ``score`` method.

    Raises:
        ValueError: A score or a connector is missing or not finite.
    """
    kept = [pair for pair in problem.pairs if pair not in fit.lost]
    bad = [pair for pair in kept if not math.isfinite(fit.scores.get(pair, math.nan))]
    if bad:
        raise ValueError(f"no finite score for {len(bad)} of {len(kept)} pairs, first {bad[0]}")
    if fit.connectors is None:
        return {}
    connectors = {pair: as_connector(given) for pair, given in fit.connectors.items()}
    made = [pair for pair in kept if pair not in fit.predicted]
    bad = [pair for pair in made if pair not in connectors or not connectors[pair].finite()]
    if bad:
        raise ValueError(f"no finite connector of {len(bad)} of {len(made)} pairs, first {bad[0]}")
    return connectors
