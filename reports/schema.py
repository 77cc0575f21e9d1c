"""``summary.json`` (schema 1): the machine's face of the report, one comment per key.

A number that cannot be said is null: too few pairs, one seed where two are needed, a metric without stored ranks.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_serializer


def finite(value: float | None) -> float | None:
    """A plain float, or None for None, NaN and the infinities."""
    return None if value is None or not math.isfinite(value) else float(value)


def _interval(value: Any) -> Any:
    return None if value is None or any(finite(end) is None for end in value) else value


Number = Annotated[float | None, BeforeValidator(finite)]
Interval = Annotated[tuple[float, float] | None, BeforeValidator(_interval)]
Pair = tuple[str, str]


class Part(BaseModel):
    """Base: frozen, no unknown key."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Selection(Part):
    """What methods pick by, on validation data."""

    task: str  # task label
    metric: str  # metric of the task
    higher_is_better: bool


class NoiseCeiling(Part):
    """The reference against itself: one seed's validation ranking against the other seeds' test scores."""

    spearman: Number = None  # null with one seed


class Value(Part):
    """A statistic with its interval."""

    value: Number = None
    ci95: Interval = None


class SpearmanValue(Value):
    """Spearman's correlation, mean over seeds."""

    per_seed: list[Number] = []  # in the order of ``seeds``


class Ndcg(Part):
    """NDCG@k of the method's order, gain = the reference's test score."""

    k: int
    value: Number = None
    chance: Number = None  # expected value of a random order


class TopK(Part):
    """Share of the reference's k best pairs among the method's k best; chance is k / pairs."""

    k: int
    value: Number = None


class Status(Part):
    """How the method's cells ended. A timeout counts as failed."""

    done: int = 0
    failed: int = 0
    diverged: int = 0
    missing: int = 0  # planned, not finished


class Flops(Part):
    """FLOPs per seed: sum over the cells of a seed, mean over seeds."""

    total: Number = None  # the phases below up to wasted
    connector: Number = None
    logits: Number = None
    hypernet: Number = None
    solve: Number = None
    score: Number = None
    optimizer: Number = None
    eval: Number = None  # evaluation inside fit
    wasted: Number = None
    encode: Number = None  # shared by all methods, outside the total
    runner_eval: Number = None  # the common evaluation, outside the total


class CostRatio(Part):
    """Reference / method: above 1 the method is cheaper."""

    flops: Number = None
    wall: Number = None


class TuningSummary(Part):
    """The learning rates of a method that has one, over all seeds. One rate: nothing was tuned."""

    rates: list[float]  # peak rates that were tried, rising
    picked: dict[str, int]  # rate -> connectors (one for each pair and seed) that were kept at it
    flops: Number = None  # per seed, spent at rates that were not kept: a part of flops.total
    shared: bool = False  # one rate for all pairs, else one for each


class MethodSummary(Part):
    """One method's row. The reference's own row is leave-one-seed-out."""

    kind: Literal["per_pair", "joint", "score"]
    status: Status
    spearman: SpearmanValue = SpearmanValue()
    kendall: Value = Value()
    ndcg: Ndcg
    topk_overlap: TopK
    best_pair: Pair | None = None  # best mean validation score over seeds
    best_pair_score: Number = None  # the method's own connector there, test, mean over seeds
    oracle_pair: Pair | None = None  # best mean test score of the reference
    oracle_score: Number = None  # the reference's mean test score there
    regret: Value = Value()  # mean over seeds; positive is a loss, whatever the metric's sign
    best_pair_hit: Number = None  # share of seeds whose pick is the oracle
    mean_score: Number = None  # mean test score over pairs and seeds
    mean_gap: Number = None  # how far that lies behind the reference over the same pairs (positive: worse)
    flops: Flops
    cost_ratio: CostRatio = CostRatio()  # as run
    wall_s: Number = None  # seconds inside the cells x CPUs (or GPUs) held, per seed
    device_s: Number = None  # seconds inside fit, per seed
    batch_size: int | None = None  # null: no batches, or not the same in all cells
    pairs_per_step: int | None = None
    updates_per_pair: Number = None  # at one learning rate
    samples_per_pair: Number = None  # at one learning rate
    trained_params: int | None = None  # per seed, at one learning rate
    tuning: TuningSummary | None = None  # null: a method without a learning rate
    promises: None = None  # reserved


class Spent(Part):
    """What one side of a ratio spent; FLOPs are per seed, over all pairs."""

    batch_size: int | None = None
    updates_per_pair: Number = None
    samples_per_pair: Number = None
    flops: Number = None


class ViewEntry(Part):
    """One method against the reference under one view."""

    cost_ratio: CostRatio = CostRatio()
    spearman: Number = None
    regret: Number = None
    budget: Spent = Spent()
    reference_budget: Spent = Spent()
    note: str | None = None  # why values are null, or what to know; left out when there is nothing to say

    @model_serializer(mode="wrap")
    def _drop_empty_note(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        data = handler(self)
        if data.get("note") is None:
            data.pop("note", None)
        return data


class Views(Part):
    """Method label -> entry, for every method but the reference."""

    as_run: dict[str, ViewEntry] = {}
    matched_batch: dict[str, ViewEntry] = {}
    matched_updates: dict[str, ViewEntry] = {}
    matched_flops: dict[str, ViewEntry] = {}
    paper: dict[str, ViewEntry] = {}


class Summary(Part):
    """The whole file."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    run: str
    reference: str | None
    selection: Selection
    n_pairs: int  # planned
    seeds: list[int]
    noise_ceiling: NoiseCeiling = NoiseCeiling()
    interaction_share: Value = Value()
    methods: dict[str, MethodSummary]
    views: Views = Views()
