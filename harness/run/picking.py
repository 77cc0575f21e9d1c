"""Picking one pair without embedding everything: every stage is a sweep of its own, on more rows for fewer encoders.

A stage embeds a sample of the images with the encoders that are left, fits every pair of them and races the pairs on
validation data. Encoders none of whose pairs is in the race any more leave, and so do those beyond the best few of
their side. Rows grow while that pays. The last stage polishes the connector that remains, and measures it on test
data. Stages are runs in the store, so an interrupted pick goes on where it stopped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.contract.pairs import Pair
from harness.errors import HarnessError
from harness.run.picked import PickRecord, StageRecord, WayCost
from harness.run.records import CellRecord
from harness.run.stages import (
    LABEL,
    Stage,
    candidates,
    check_pick,
    encoding_of,
    first_stage,
    larger_stage,
    last_stage,
    remaining,
    stage_sweep,
)
from harness.sweep.config import Sweep
from harness.sweep.encoding import EncodingCost
from harness.sweep.estimates import estimates
from harness.sweep.plan import Plan, make_plan
from harness.sweep.resolve import ResolvedSweep


class StageFailed(HarnessError):
    """The cell of a stage failed or diverged."""


@dataclass(frozen=True)
class Ran:
    """A stage that has been run.

    Attributes:
        cell: Its cell.
        seconds: What it took, embedding included, also where it was run by an earlier command.
    """

    cell: CellRecord
    seconds: float


RunStage = Callable[[Stage, Plan], Ran]
"""Runs the plan of a stage, or reads what it came to."""

Told = Callable[[Stage, StageRecord], None]
"""Hears what a stage came to."""


@dataclass(frozen=True)
class Limits:
    """What a pick may spend in all, embedding included; None: no limit."""

    flops: float | None = None
    seconds: float | None = None


def pick(sweep: Sweep, run: RunStage, limits: Limits | None = None, told: Told | None = None) -> PickRecord:
    """Race the sweep's pairs on growing samples, and make the connector of the one that is left.

    Args:
        sweep: What is chosen among.
        run: Runs a stage.
        limits: What may be spent. The first and the last stage run whatever they say.
        told: Hears what each stage came to.

    Raises:
        StageFailed: The cell of a stage failed.
        HarnessError: The sweep does not resolve, or no pair meets its constraints.
    """
    check_pick(sweep)
    whole = make_plan(ResolvedSweep(sweep))
    whole.check_constraints()
    race = _Race(whole, run, limits or Limits(), told)
    stage = first_stage(whole)
    while True:
        found = race.run(stage)
        larger = larger_stage(stage, *remaining(found.racing, stage, sweep.pick), whole)
        if race.enough(sweep.pick.at_most_gap) or larger.train <= stage.train or not race.affordable(stage, larger):
            break
        stage = larger
    return race.finish(last_stage(stage, found.racing[0], whole))


def not_separated(stages: Sequence[StageRecord]) -> list[Pair]:
    """Pairs that were in the race in the last stage that they took part in, the latest and best first.

    Some of them left because a stage keeps only so many encoders: nothing says that they are worse.
    """
    found: dict[Pair, None] = {}
    seen: set[Pair] = set()
    for stage in reversed(stages):
        found |= dict.fromkeys(pair for pair in stage.racing if pair not in seen)
        seen |= {(image, text) for image in stage.images for text in stage.texts}
    return list(found)


class _Race:
    """Stages that have been run, and what they cost."""

    def __init__(self, whole: Plan, run: RunStage, limits: Limits, told: Told | None) -> None:
        self._whole, self._sweep, self._run, self._limits, self._told = whole, whole.sweep, run, limits, told
        self._sign = 1.0 if whole.resolved.higher_is_better else -1.0
        grid_cost(whole)  # a grid that cannot be planned is said before anything is spent
        self._done: list[StageRecord] = []
        self._seconds: list[float] = []
        self._encoded: dict[tuple[str, str, str], EncodingCost] = {}

    def run(self, stage: Stage) -> StageRecord:
        """Run a stage, or read what it came to."""
        plan = make_plan(ResolvedSweep(stage_sweep(self._sweep, stage)))
        ran = self._run(stage, plan)
        record = ran.cell
        if record.status != "done":
            raise StageFailed(f"stage {stage.number} {record.status}: {record.error}", where=plan.sweep.name)
        splits = plan.resolved.index.splits
        racing, score = self._left(plan, record)
        before = self._total().encode
        self._encoded |= encoding_of(plan)
        found = StageRecord(
            run=plan.sweep.name,
            images=stage.images,
            texts=stage.texts,
            train_images=len(splits["train"]),
            validation_images=len(splits["validation"]),
            racing=racing,
            score=score,
            flops=record.ledger.total,
            encode_flops=self._total().encode - before,
            seconds=record.device_s,
        )
        self._done.append(found)
        self._seconds.append(ran.seconds)
        if self._told is not None:
            self._told(stage, found)
        return found

    def _left(self, plan: Plan, record: CellRecord) -> tuple[list[Pair], float]:
        """Pairs that may be picked and are in the race, best first, and the best one's score."""
        scores = {(entry.image, entry.text): entry.score for entry in record.metrics}
        best_first = sorted(scores, key=lambda pair: -self._sign * scores[pair])
        allowed = [pair for pair in best_first if plan.allows(pair)]
        if not allowed:
            raise HarnessError(
                "no pair is known to meet the constraints",
                where="selection.constraints",
                fix="loosen them, or state the encoders' facts",
            )
        if allowed[0] != best_first[0]:
            return allowed, scores[allowed[0]]  # they lost to a pair that may not be picked, not to each other
        racing = [pair for pair in allowed if pair in record.racing] or allowed[:1]
        return racing, scores[racing[0]]

    def enough(self, at_most_gap: float) -> bool:
        """Whether the last growth gained less than that. Scores on unlike validation images do not say."""
        if len(self._done) < 2 or self._done[-1].validation_images != self._done[-2].validation_images:
            return False
        return self._sign * (self._done[-1].score - self._done[-2].score) < at_most_gap

    def affordable(self, stage: Stage, larger: Stage) -> bool:
        """Whether another stage, and the last one after it, fit into the limits."""
        if self._limits.seconds is not None:
            ahead = self._seconds[-1] * 2 * larger.work / stage.work
            if sum(self._seconds) + ahead > self._limits.seconds:
                return False
        if self._limits.flops is None:
            return True
        plan = make_plan(ResolvedSweep(stage_sweep(self._sweep, replace(larger, last=True))))
        known = {key: cost.flops for key, cost in self._encoded.items()}
        more = sum(cost.flops - known.get(key, 0.0) for key, cost in encoding_of(plan).items())
        planned = estimates(plan)[LABEL].flops_ours
        ahead = more + (2 * planned["total"] if planned else 0.0)  # this stage, and the last one on the same rows
        return self._total().total + ahead <= self._limits.flops

    def finish(self, stage: Stage) -> PickRecord:
        """The last stage, and what everything came to."""
        found = self.run(stage)
        grid, label = grid_cost(self._whole)  # what embedding costs per row is known by now
        costs = (*encoding_of(self._whole).values(), *self._encoded.values())
        return PickRecord(
            name=self._sweep.name,
            pair=found.racing[0],
            run=found.run,
            label=LABEL,
            not_separated=not_separated(self._done[:-1]),
            candidates=len(candidates(self._whole)),
            metric=self._sweep.selection.metric,
            validation=found.score,
            stages=self._done,
            cost=self._total(),
            grid=grid,
            grid_label=label,
            unknown=tuple(sorted({name for cost in costs for name in cost.unknown})),
        )

    def _total(self) -> WayCost:
        return WayCost(
            connectors=sum(stage.flops for stage in self._done),
            encode=sum(cost.flops for cost in self._encoded.values()),
        )


def grid_cost(whole: Plan) -> tuple[WayCost | None, str | None]:
    """What embedding everything and one seed of the grid cost by the plan, and which method is the grid."""
    label = whole.reference
    planned = estimates(whole)[label].flops_ours if label is not None else None
    if planned is None:
        return None, None
    return WayCost(connectors=planned["total"], encode=sum(c.flops for c in encoding_of(whole).values())), label
