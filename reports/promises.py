"""What a method promises (a selection, a winner with its connector, a connector for every pair), with its worth."""

from reports.paper import has_closed_form, pair_step_flops
from reports.rundata import MethodData, RunData
from reports.schema import AllPromise, MethodSummary, Pair, Promises, SelectionPromise, WinnerPromise
from reports.spending import MethodCost, ratio
from reports.views import cost_ratio


def promises_of(
    row: MethodSummary,
    cost: MethodCost,
    reference: MethodCost,
    *,
    every_pair: bool,
    one_training: float | None,
    higher_is_better: bool,
) -> Promises:
    """The promises that a method makes, valued. A method without connectors promises a selection and nothing else.

    Args:
        row: Its row of ``summary.json`` without them.
        cost: What it spent.
        reference: What the reference spent.
        every_pair: It has a connector for each pair, in every seed.
        one_training: FLOPs of one full training of its pair as the reference does it.
        higher_is_better: Of the selection metric.
    """
    spent = cost_ratio(cost, reference)
    selection = winner = everything = None
    if row.best_pair is not None:
        selection = SelectionPromise(
            flops_ratio=spent.flops, wall_ratio=spent.wall, regret=row.regret.value, spearman=row.spearman.value
        )
    if row.delivered.value is not None:
        gap = None if row.oracle_score is None else row.oracle_score - row.delivered.value
        winner = WinnerPromise(
            flops_ratio=spent.flops,
            wall_ratio=spent.wall,
            gap=gap if gap is None or higher_is_better else -gap,
            limit=ratio(reference.flops.total, one_training) if reference.complete else None,
        )
    if every_pair:
        everything = AllPromise(flops_ratio=spent.flops, wall_ratio=spent.wall, gap=row.mean_gap)
    return Promises(selection=selection, winner=winner, all=everything)


def one_training(run: RunData, reference: MethodData, cost: MethodCost, pair: Pair) -> float | None:
    """FLOPs of training one pair as the reference does it; None where it trains no single pair.

    A cell of the pair alone says it. Where all pairs are trained in one cell, the pair has its part of the cell by the
    closed form of a step, which is a sum over the pairs; by equal parts for connectors without one.

    Args:
        run: The run.
        reference: The reference.
        cost: What it spent.
        pair: The pair.
    """
    records = [record for record in reference.records.values() if record.status == "done" and pair in record.pairs]
    if not records or reference.rungs is not None:
        return None
    if all(len(record.pairs) == 1 for record in records):
        return sum(record.ledger.total for record in records) / len(records)
    if not reference.planned.is_grid or cost.batch_size is None:
        return None
    known = has_closed_form(run.manifest)
    parts = {
        other: pair_step_flops(run.manifest, other, cost.batch_size) if known else 1.0
        for record in records
        for other in record.pairs
    }
    shares = [parts[pair] / sum(parts[other] for other in record.pairs) for record in records]
    return sum(r.ledger.total * share for r, share in zip(records, shares, strict=True)) / len(records)
