"""Picking one pair without embedding everything: every stage is a sweep of its own, on more rows for fewer encoders.

A stage embeds a sample of the training images with the encoders that are left, fits every pair and races them on
validation data. Encoders none of whose pairs is in the race any more leave, and so do those beyond the best few of
their side. When one pair is left, rows go on growing while they pay. The last stage trains and polishes the connectors
that remain, and measures what is handed over on test data. Stages are runs in the store, so an interrupted pick goes on
where it stopped.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.contract.pairs import Pair
from harness.contract.record import Record
from harness.data.sampled import SampleConfig
from harness.errors import HarnessError
from harness.run.records import CellRecord
from harness.sweep.config import EncoderConfig, MethodConfig, PickConfig, Sweep
from harness.sweep.encoding import EncodingCost, encoding_cost
from harness.sweep.estimates import estimates
from harness.sweep.plan import Plan, make_plan
from harness.sweep.resolve import ResolvedSweep

LABEL = "pick"
"""What a stage calls its only method."""

RunStage = Callable[[Plan], CellRecord]
"""Runs the plan of a stage; returns its cell."""


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        number: From 1.
        images: Image encoders that are left.
        texts: Text encoders that are left.
        train: Training images.
        last: Whether the connector is trained to its end and measured on test data.
    """

    number: int
    images: tuple[str, ...]
    texts: tuple[str, ...]
    train: int
    last: bool = False


class StageRecord(Record):
    """What a stage did and cost.

    Attributes:
        run: The run that holds it.
        images: Its image encoders.
        texts: Its text encoders.
        train_images: Training images.
        validation_images: Validation images.
        racing: Pairs left in the race, best first.
        score: Validation score of the best one.
        flops: Inside ``fit``.
        seconds: The same.
    """

    run: str
    images: tuple[str, ...]
    texts: tuple[str, ...]
    train_images: int
    validation_images: int
    racing: list[Pair]
    score: float
    flops: float
    seconds: float


class Cost(Record):
    """FLOPs of one way to a connector.

    Attributes:
        connectors: Training and choosing connectors.
        encode: Embedding the rows that it needs.
    """

    connectors: float
    encode: float

    @property
    def total(self) -> float:
        """Both."""
        return self.connectors + self.encode


class PickRecord(Record):
    """What a pick has come to.

    Attributes:
        name: Of the sweep.
        pair: The pair.
        run: The run of the last stage, which holds its connector.
        not_separated: Pairs that were in the race with it when the last stage began, itself among them.
        validation: Its validation score.
        test: Test task -> metric -> value.
        stages: What was done.
        cost: What it cost.
        grid: What embedding everything and the grid would have cost, by the plan; None without a grid in the sweep.
        grid_label: The grid.
        unknown: Encoders whose FLOPs are not known: costs are without theirs.
    """

    name: str
    pair: Pair
    run: str
    not_separated: list[Pair]
    validation: float
    test: dict[str, dict[str, float]]
    stages: list[StageRecord]
    cost: Cost
    grid: Cost | None = None
    grid_label: str | None = None
    unknown: tuple[str, ...] = ()

    @property
    def saving(self) -> float | None:
        """How many times more the grid would have cost, end to end."""
        return self.grid.total / self.cost.total if self.grid and self.cost.total else None


@dataclass(frozen=True)
class Limits:
    """What a pick may spend in all, embedding included; None: no limit."""

    flops: float | None = None
    seconds: float | None = None


def pick(sweep: Sweep, run: RunStage, limits: Limits | None = None) -> PickRecord:
    """Race the sweep's pairs on growing samples, and train the connector of the one that is left.

    Args:
        sweep: What is chosen among.
        run: Runs a stage.
        limits: What may be spent.

    Raises:
        HarnessError: The sweep does not resolve, no pair meets its constraints, or a stage failed.
    """
    whole = make_plan(ResolvedSweep(sweep))
    whole.check_constraints()
    resolved, settings = whole.resolved, sweep.pick
    images, texts = tuple(resolved.images), tuple(resolved.texts)
    most = min(len(resolved.index.splits["train"]), settings.most or math.inf)
    race = _Race(sweep, run, limits or Limits())
    stage = Stage(1, images, texts, int(min(settings.first, most)))
    while True:
        before = race.done[-1] if race.done else None
        found = race.run(stage)
        gain = math.inf if before is None else race.sign * (found.score - before.score)
        enough = len(found.racing) == 1 and gain < settings.at_most_gap
        images, texts = remaining(found.racing, stage, settings)
        rows = int(min(math.ceil(stage.train * settings.growth), most))
        larger = Stage(stage.number + 1, images, texts, rows)
        if enough or stage.train >= most or not race.affordable(larger):
            break
        stage = larger
    final = replace(stage, number=stage.number + 1, images=images, texts=texts, last=True)
    return race.finish(final, whole)


def remaining(racing: Sequence[Pair], stage: Stage, settings: PickConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Encoders that go on: those of racing pairs, and of each side no more than the stage may keep, the best first."""
    found = []
    for side, names in enumerate((stage.images, stage.texts)):
        best_first = list(dict.fromkeys(pair[side] for pair in racing))
        found.append(tuple(best_first[: max(1, math.ceil(settings.keep * len(names)))]))
    return found[0], found[1]


class _Race:
    """Stages that have been run, and what they cost."""

    def __init__(self, sweep: Sweep, run: RunStage, limits: Limits) -> None:
        self._sweep, self._run, self._limits = sweep, run, limits
        self.done: list[StageRecord] = []
        self.sign = 1.0
        self._encoded: dict[tuple[str, str], EncodingCost] = {}

    def run(self, stage: Stage) -> StageRecord:
        """Run a stage, or read what it came to."""
        return self._ran(stage)[0]

    def _ran(self, stage: Stage) -> tuple[StageRecord, CellRecord]:
        plan = make_plan(ResolvedSweep(stage_sweep(self._sweep, stage)))
        record = self._run(plan)
        if record.status != "done":
            raise HarnessError(f"stage {stage.number} {record.status}: {record.error}", where=plan.sweep.name)
        resolved = plan.resolved
        self.sign = 1.0 if resolved.higher_is_better else -1.0
        self._encoded |= _encoding(plan)
        scores = {(entry.image, entry.text): entry.score for entry in record.metrics}
        allowed = sorted((pair for pair in scores if plan.allows(pair)), key=lambda pair: -self.sign * scores[pair])
        if not allowed:
            raise HarnessError(
                "no pair is known to meet the constraints",
                where="selection.constraints",
                fix="loosen them, or state the encoders' facts",
            )
        racing = [pair for pair in allowed if pair in record.racing] or allowed[:1]
        found = StageRecord(
            run=plan.sweep.name,
            images=stage.images,
            texts=stage.texts,
            train_images=len(resolved.index.splits["train"]),
            validation_images=len(resolved.index.splits["validation"]),
            racing=racing,
            score=scores[racing[0]],
            flops=record.ledger.total,
            seconds=record.device_s,
        )
        self.done.append(found)
        return found, record

    def affordable(self, stage: Stage) -> bool:
        """Whether another stage, and the last one after it, fit into the limits."""
        limits = self._limits
        if limits.flops is None and limits.seconds is None:
            return True
        plan = make_plan(ResolvedSweep(stage_sweep(self._sweep, replace(stage, last=True))))
        encoding = _encoding(plan)
        cost, ahead = self._total(), list(encoding.values())
        flops = (
            cost.encode
            + cost.connectors
            + sum(
                now.flops - (self._encoded[key].flops if key in self._encoded else 0.0) for key, now in encoding.items()
            )
        )
        planned = estimates(plan)[LABEL].flops_ours
        flops += 2 * planned["total"] if planned else 0.0  # this stage, and the last one on the same rows
        seconds = [now.seconds_left for now in ahead]
        known = sum(second for second in seconds if second is not None)
        slow = limits.seconds is not None and sum(stage.seconds for stage in self.done) + known > limits.seconds
        return not slow and (limits.flops is None or flops <= limits.flops)

    def finish(self, stage: Stage, whole: Plan) -> PickRecord:
        """The last stage, and what everything came to."""
        before = self.done[-1].racing
        found, record = self._ran(stage)
        (metrics,) = [entry for entry in record.metrics if (entry.image, entry.text) == found.racing[0]]
        grid, label = grid_cost(whole)
        return PickRecord(
            name=self._sweep.name,
            pair=found.racing[0],
            run=found.run,
            not_separated=before,
            validation=metrics.score,
            test=metrics.test,
            stages=self.done,
            cost=self._total(),
            grid=grid,
            grid_label=label,
            unknown=tuple(sorted({name for cost in self._encoded.values() for name in cost.unknown})),
        )

    def _total(self) -> Cost:
        return Cost(
            connectors=sum(stage.flops for stage in self.done),
            encode=sum(cost.flops for cost in self._encoded.values()),
        )


def grid_cost(whole: Plan) -> tuple[Cost | None, str | None]:
    """What embedding everything and one seed of the grid cost by the plan, and which method is the grid."""
    label = whole.sweep.reference
    if label is None:
        return None, None
    planned = estimates(whole)[label].flops_ours
    encode = sum(cost.flops for cost in _encoding(whole).values())
    return (Cost(connectors=planned["total"], encode=encode) if planned else None), label


def _encoding(plan: Plan) -> dict[tuple[str, str], EncodingCost]:
    """(modality, encoder) -> what embedding its rows of the main data costs."""
    resolved = plan.resolved
    own = [request for request in resolved.banks.values() if request.dataset is resolved.dataset]
    return {(request.info.modality, request.spec.id): encoding_cost([request]) for request in own}


def stage_sweep(sweep: Sweep, stage: Stage) -> Sweep:
    """The sweep of a stage: its encoders, its rows, one method, one seed."""
    pick = sweep.pick
    sides = {
        "image_encoders": _written(sweep.image_encoders, stage.images),
        "text_encoders": _written(sweep.text_encoders, stage.texts),
    }
    settings = {**pick.settings, "polish": stage.last, "at_most_gap": pick.at_most_gap}
    tasks = [task for task in sweep.tasks if task.label == sweep.selection.task or (stage.last and task.data is None)]
    return sweep.model_copy(
        update={
            **sides,
            "name": f"{sweep.name}-pick-{stage.number}",
            "sample": SampleConfig(train=stage.train, validation=pick.validation, test=pick.test if stage.last else 0),
            "first_image_encoders": None,
            "tasks": tasks,
            "methods": {LABEL: MethodConfig(method=pick.method, config=settings)},
            "reference": None,
            "seeds": sweep.seeds[:1],
        }
    )


def _written(configs: Sequence[EncoderConfig] | None, names: Sequence[str]) -> list[EncoderConfig]:
    known = {config.id: config for config in configs or ()}
    return [known.get(name, EncoderConfig(id=name)) for name in names]
