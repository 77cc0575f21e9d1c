"""What the cells of a plan will cost, in closed form."""

from dataclasses import dataclass
from typing import TypeAlias

from harness.contract.fit import Estimate
from harness.contract.method import Convention, RungEstimates, TriesRates, counted_by, estimate_of
from harness.contract.pairs import Pair
from harness.errors import HarnessError
from harness.sweep.located import errors_located
from harness.sweep.plan import Plan, ReadyMethod
from harness.sweep.planned import PlannedCell
from harness.sweep.resolve import ResolvedSweep

Shape: TypeAlias = tuple[int, int, float | None, float | None, str]
"""Dimensions of a pair's embeddings, the parameters of its encoders where they are known, and its language model."""


@dataclass(frozen=True)
class MethodEstimate:
    """What the plan says of one method, per seed (None: the method cannot tell).

    Attributes:
        flops: Phase -> FLOPs and ``total``, under the sweep's ``flop_convention``.
        flops_ours: The same under ``ours``.
        updates_per_pair: Mean over the pairs, at one learning rate.
        trained_params: Parameters that the method trains.
        rates: Peak learning rates that it tries; empty for a method without one.
    """

    flops: dict[str, float] | None = None
    flops_ours: dict[str, float] | None = None
    updates_per_pair: float | None = None
    trained_params: int | None = None
    rates: tuple[float, ...] = ()


def estimates(plan: Plan) -> dict[str, MethodEstimate]:
    """The closed-form cost of every method, averaged over the seeds."""
    convention = plan.sweep.flop_convention
    found = {}
    for label, ready in plan.methods.items():
        pairs = plan.resolved.pairs
        groups = [pairs] if ready.rungs else ready.groups(pairs)
        ours = _counts(plan.resolved, ready, groups, "ours")
        shown = ours if convention == "ours" else _counts(plan.resolved, ready, groups, convention)
        rates = ready.method.rates if isinstance(ready.method, TriesRates) else ()
        if ours is None or shown is None:
            found[label] = MethodEstimate(rates=rates)
            continue
        weights = [len(group) for group in groups]
        updates = sum(c.updates_per_pair * w for c, w in zip(shown, weights, strict=True)) / sum(weights)
        found[label] = MethodEstimate(
            flops=_by_phase(shown),
            flops_ours=_by_phase(ours),
            updates_per_pair=updates,
            trained_params=sum(count.trained_params for count in shown),
            rates=rates,
        )
    return found


def cell_estimate(plan: Plan, cell: PlannedCell) -> Estimate | None:
    """What one cell will spend, a rung's what all its pair's rungs up to it do; None if its method cannot tell."""
    ready = plan.methods[cell.label]
    budget = ready.budget if cell.rung is None else ready.rungs[cell.rung]
    try:
        return estimate_of(ready.method, plan.resolved.sizes(tuple(cell.pairs)), budget)
    except HarnessError:
        return None  # the method refuses these shapes, which is for the cell to say


def check(plan: Plan) -> None:
    """Find what would stop a cell, before compute is spent: empty splits, batches larger than the data, ...

    Raises:
        HarnessError: The first thing found.
    """
    plan.resolved.check()
    plan.check_constraints()
    for ready in plan.methods.values():
        _estimate(plan.resolved, ready, ready.groups(plan.resolved.pairs)[0], "ours")


def _counts(
    resolved: ResolvedSweep, ready: ReadyMethod, groups: list[tuple[Pair, ...]], convention: Convention
) -> list[Estimate] | None:
    """Of each group of pairs; None if the method cannot tell one of them."""
    if ready.rungs:
        counts = [counted_by(convention, _estimate_rungs(resolved, ready))]
    else:
        alike: dict[tuple[Shape, ...], Estimate | None] = {}
        counts = []
        for pairs in groups:
            shapes = _shapes(resolved, pairs)
            if shapes not in alike:
                alike[shapes] = _estimate(resolved, ready, pairs, convention)
            counts.append(alike[shapes])
    known = [count for count in counts if count is not None]
    return known if len(known) == len(counts) else None


def _shapes(resolved: ResolvedSweep, pairs: tuple[Pair, ...]) -> tuple[Shape, ...]:
    """All that tells the cost of one pair from that of another."""
    s, language = resolved.sizes(pairs), resolved.language is not None
    return tuple(
        (s.image_dims[i], s.text_dims[t], s.image_params.get(i), s.text_params.get(t), t if language else "")
        for i, t in pairs
    )


def _estimate(
    resolved: ResolvedSweep, ready: ReadyMethod, pairs: tuple[Pair, ...], convention: Convention
) -> Estimate | None:
    with errors_located(resolved.sweep.source, f"methods.{ready.label}"):
        return estimate_of(ready.method, resolved.sizes(pairs), ready.budget, convention)


def _estimate_rungs(resolved: ResolvedSweep, ready: ReadyMethod) -> Estimate | None:
    if not isinstance(ready.method, RungEstimates):
        return None
    return ready.method.estimate_rungs([resolved.sizes((pair,)) for pair in resolved.pairs], ready.budget)


def _by_phase(counts: list[Estimate]) -> dict[str, float]:
    phases = {phase for count in counts for phase in count.flops}
    flops = {phase: sum(count.flops.get(phase, 0.0) for count in counts) for phase in sorted(phases)}
    return {**flops, "total": sum(flops.values())}
