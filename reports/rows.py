"""One method's row of ``summary.json``, from its scores, its costs and how both compare."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from reports.compare import Comparison, SeedStatistic
from reports.delivered import Delivered
from reports.promises import one_training, promises_of
from reports.ranking import pick, tied_first
from reports.rundata import MethodData, RunData
from reports.schema import MethodSummary, Ndcg, Pair, SpearmanValue, Status, TopK, Value
from reports.scores import ReferenceScores, seed_mean
from reports.spending import MethodCost
from reports.tuning import tuning_of
from reports.views import cost_ratio


@dataclass(frozen=True)
class MethodResult:
    """One method, analysed.

    Attributes:
        data: Its scores as arrays.
        cost: What it spent.
        comparison: Its ranking against the reference; empty without a reference.
        delivered: What its own connectors are worth.
        summary: Its row of ``summary.json``.
        picks: The pair it picked on validation, per seed.
        pairs_done: Pairs with a result in every seed.
        tied: Pairs that share the best mean validation score: of several the first in plan order is picked, or none
            where all tie.
    """

    data: MethodData
    cost: MethodCost
    comparison: Comparison
    delivered: Delivered
    summary: MethodSummary
    picks: list[Pair | None]
    pairs_done: int
    tied: int = 1

    @property
    def label(self) -> str:
        """Its label in the sweep file."""
        return self.data.label

    @property
    def all_tie(self) -> bool:
        """It gives all pairs one score, and so picks none."""
        return self.summary.best_pair is None and self.tied > 1

    @property
    def connectors(self) -> int:
        """Pairs with a connector that has a test score in some seed."""
        return int(np.isfinite(self.data.test).any(axis=0).sum())


@dataclass(frozen=True)
class Yardstick:
    """The reference, which every method is compared with.

    Attributes:
        scores: The reference's test scores.
        truth: The same, limited to the pairs that may be picked.
        data: The reference.
        cost: What it spent.
    """

    scores: ReferenceScores
    truth: ReferenceScores
    data: MethodData
    cost: MethodCost


def method_result(
    run: RunData,
    data: MethodData,
    cost: MethodCost,
    comparison: Comparison,
    found: Delivered,
    yardstick: Yardstick | None,
    allowed: Bool[np.ndarray, " pairs"],
) -> MethodResult:
    """Put a method's row together.

    Args:
        run: The run.
        data: The method.
        cost: What it spent.
        comparison: Its ranking against the reference.
        found: What it delivers.
        yardstick: The reference; None without one.
        allowed: Pairs that may be picked.
    """
    pairs = run.manifest.pairs
    best = pick(seed_mean(data.ranking), allowed)
    picked = [pick(row, allowed) for row in data.ranking]
    if yardstick is not None:
        comparison = _without_unscored(comparison, picked, yardstick.truth)
    statuses = [data.records[cell.key].status if cell.key in data.records else "missing" for cell in data.cells]
    row = MethodSummary(
        kind=data.planned.kind,
        status=Status(
            done=statuses.count("done"),
            failed=statuses.count("failed") + statuses.count("timeout"),
            diverged=statuses.count("diverged"),
            missing=statuses.count("missing"),
        ),
        spearman=SpearmanValue(
            value=comparison.spearman.value,
            ci95=comparison.spearman.ci95,
            per_seed=list(comparison.spearman.per_seed),
        ),
        kendall=Value(value=comparison.kendall.value, ci95=comparison.kendall.ci95),
        ndcg=Ndcg(k=comparison.ndcg_k, value=comparison.ndcg.value, chance=comparison.ndcg.chance),
        topk_overlap=TopK(k=comparison.top_k, value=comparison.topk.value),
        best_pair=None if best is None else pairs[best],
        best_pair_score=found.best.value,
        delivered=Value(value=found.best.value, ci95=found.best.ci95),
        regret=Value(value=comparison.regret.value, ci95=comparison.regret.ci95),
        best_pair_hit=comparison.hit.value,
        mean_score=found.mean.value,
        mean_gap=found.gap.value,
        flops=cost.flops,
        wall_s=cost.wall_s,
        device_s=cost.device_s,
        batch_size=cost.batch_size,
        pairs_per_step=cost.pairs_per_step,
        updates_per_pair=cost.updates_per_pair,
        samples_per_pair=cost.samples_per_pair,
        trained_params=cost.trained_params,
        tuning=tuning_of(data),
    )
    if yardstick is not None:
        row = _against(run, row, cost, yardstick, every_pair=found.pairs == len(pairs))
    names = [None if p is None else pairs[p] for p in picked]
    done = int(np.isfinite(data.scores).all(axis=0).sum())
    tied = tied_first(seed_mean(data.ranking), allowed)
    return MethodResult(data, cost, comparison, found, row, names, done, tied)


def _against(
    run: RunData, row: MethodSummary, cost: MethodCost, yardstick: Yardstick, *, every_pair: bool
) -> MethodSummary:
    """The row with what needs a reference."""
    mean = yardstick.truth.mean
    oracle = pick(mean)
    update: dict[str, object] = {"cost_ratio": cost_ratio(cost, yardstick.cost)}
    if oracle is not None:
        sign = 1.0 if yardstick.data.metric_higher else -1.0
        update |= {"oracle_pair": run.manifest.pairs[oracle], "oracle_score": float(sign * mean[oracle])}
    row = row.model_copy(update=update)
    once = None if row.best_pair is None else one_training(run, yardstick.data, yardstick.cost, row.best_pair)
    higher = yardstick.data.metric_higher
    made = promises_of(row, cost, yardstick.cost, every_pair=every_pair, one_training=once, higher_is_better=higher)
    return row.model_copy(update={"promises": made})


def _without_unscored(comparison: Comparison, picked: list[int | None], truth: ReferenceScores) -> Comparison:
    """No regret and no hit where a seed picks a pair that the reference has not scored: it is not known what is lost.

    The rank statistics stay: they are over the pairs that both have.
    """
    if all(number is None or truth.known[number] for number in picked):
        return comparison
    unknown = (float("nan"),) * len(picked)
    return replace(
        comparison,
        regret=SeedStatistic(unknown, chance=comparison.regret.chance),
        hit=SeedStatistic(unknown, chance=comparison.hit.chance),
    )
