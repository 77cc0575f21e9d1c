"""Picking one pair without embedding everything: every stage is a sweep of its own, on more rows for fewer encoders.

A stage embeds a sample of the images with the encoders that are left, fits every pair of them and races the pairs on
validation data. Encoders none of whose pairs is in the race any more leave, and so do those beyond the best few of
their side. Rows grow while that pays. The last stage polishes the connector that remains, and measures it on test
data. Stages are runs in the store, so an interrupted pick goes on where it stopped.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.contract.pairs import Pair
from harness.data.sampled import SampleConfig
from harness.errors import HarnessError
from harness.run.picked import PickRecord, StageRecord, WayCost
from harness.run.records import CellRecord
from harness.sweep.config import EncoderConfig, MethodConfig, PickConfig, Sweep
from harness.sweep.encoding import EncodingCost, encoding_cost
from harness.sweep.estimates import estimates
from harness.sweep.plan import Plan, make_plan
from harness.sweep.resolve import ResolvedSweep

LABEL = "pick"
"""What a stage calls its only method."""

SHARE = 0.1
"""Share of the training images in the first stage of small data."""

FEWEST = 100
"""Training images of the first stage at least."""

BATCH = 128
"""Samples of an update where ``pick.settings`` does not say."""

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
        validation: Validation images.
        last: Whether the connector is polished and measured on test data.
    """

    number: int
    images: tuple[str, ...]
    texts: tuple[str, ...]
    train: int
    validation: int
    last: bool = False

    @property
    def work(self) -> int:
        """Rows times encoders, which the seconds of a stage are taken to grow with."""
        return (self.train + self.validation) * (len(self.images) + len(self.texts))


@dataclass(frozen=True)
class Limits:
    """What a pick may spend in all, embedding included; None: no limit."""

    flops: float | None = None
    seconds: float | None = None


def pick(sweep: Sweep, run: RunStage, limits: Limits | None = None) -> PickRecord:
    """Race the sweep's pairs on growing samples, and make the connector of the one that is left.

    Args:
        sweep: What is chosen among.
        run: Runs a stage.
        limits: What may be spent. The first and the last stage run whatever they say.

    Raises:
        HarnessError: The sweep does not resolve, no pair meets its constraints, or a stage failed.
    """
    whole = make_plan(ResolvedSweep(sweep))
    whole.check_constraints()
    settings = sweep.pick
    splits = whole.resolved.index.splits
    most = min(len(splits["train"]), settings.most or math.inf)
    validation = min(len(splits["validation"]), settings.validation)
    race = _Race(sweep, run, limits or Limits())
    stage = first_stage(whole, settings)
    while True:
        found = race.run(stage)
        images, texts = remaining(found.racing, stage, settings)
        rows = int(min(math.ceil(stage.train * settings.growth), most))
        larger = Stage(stage.number + 1, images, texts, rows, validation)
        if race.enough(settings.at_most_gap) or stage.train >= most or not race.affordable(stage, larger):
            break
        stage = larger
    pair = found.racing[0]
    final = replace(stage, number=stage.number + 1, images=(pair[0],), texts=(pair[1],), last=True)
    return race.finish(replace(final, validation=validation), whole)


def first_stage(whole: Plan, settings: PickConfig) -> Stage:
    """All encoders on few rows: ``pick.first`` training images, or a tenth of them where the data is small."""
    resolved, splits = whole.resolved, whole.resolved.index.splits
    train = len(splits["train"])
    rows = min(settings.first, settings.most or math.inf, max(FEWEST, math.ceil(SHARE * train)), train)
    validation = min(len(splits["validation"]), settings.validation, int(rows))
    return Stage(1, tuple(resolved.images), tuple(resolved.texts), int(rows), validation)


def remaining(racing: Sequence[Pair], stage: Stage, settings: PickConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Encoders that go on: those of racing pairs, and of each side no more than the stage may keep, the best first.

    All pairs of these go on, also one that had left the race: more rows may bring it back.
    """
    found = []
    for side, names in enumerate((stage.images, stage.texts)):
        best_first = list(dict.fromkeys(pair[side] for pair in racing))
        found.append(tuple(best_first[: max(1, math.ceil(settings.keep * len(names)))]))
    return found[0], found[1]


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

    def __init__(self, sweep: Sweep, run: RunStage, limits: Limits) -> None:
        self._sweep, self._run, self._limits = sweep, run, limits
        self._done: list[StageRecord] = []
        self._sign = 1.0
        self._encoded: dict[tuple[str, str], EncodingCost] = {}
        self._began = self._stage_began = time.monotonic()

    def run(self, stage: Stage) -> StageRecord:
        """Run a stage, or read what it came to."""
        self._stage_began = time.monotonic()
        plan = make_plan(ResolvedSweep(stage_sweep(self._sweep, stage)))
        record = self._run(plan)
        if record.status != "done":
            raise HarnessError(f"stage {stage.number} {record.status}: {record.error}", where=plan.sweep.name)
        resolved = plan.resolved
        self._sign = 1.0 if resolved.higher_is_better else -1.0
        scores = {(entry.image, entry.text): entry.score for entry in record.metrics}
        allowed = sorted((pair for pair in scores if plan.allows(pair)), key=lambda pair: -self._sign * scores[pair])
        if not allowed:
            raise HarnessError(
                "no pair is known to meet the constraints",
                where="selection.constraints",
                fix="loosen them, or state the encoders' facts",
            )
        racing = [pair for pair in allowed if pair in record.racing] or allowed[:1]
        before = self._total().encode
        self._encoded |= _encoding(plan)
        found = StageRecord(
            run=plan.sweep.name,
            images=stage.images,
            texts=stage.texts,
            train_images=len(resolved.index.splits["train"]),
            validation_images=len(resolved.index.splits["validation"]),
            racing=racing,
            score=scores[racing[0]],
            flops=record.ledger.total,
            encode_flops=self._total().encode - before,
            seconds=record.device_s,
        )
        self._done.append(found)
        return found

    def enough(self, at_most_gap: float) -> bool:
        """Whether the last growth gained less than that. Scores on unlike validation images do not say."""
        if len(self._done) < 2 or self._done[-1].validation_images != self._done[-2].validation_images:
            return False
        return self._sign * (self._done[-1].score - self._done[-2].score) < at_most_gap

    def affordable(self, stage: Stage, larger: Stage) -> bool:
        """Whether another stage, and the last one after it, fit into the limits."""
        now, limits = time.monotonic(), self._limits
        if limits.seconds is not None:
            ahead = (now - self._stage_began) * 2 * larger.work / stage.work
            if now - self._began + ahead > limits.seconds:
                return False
        if limits.flops is None:
            return True
        plan = make_plan(ResolvedSweep(stage_sweep(self._sweep, replace(larger, last=True))))
        known = {key: cost.flops for key, cost in self._encoded.items()}
        more = sum(cost.flops - known.get(key, 0.0) for key, cost in _encoding(plan).items())
        planned = estimates(plan)[LABEL].flops_ours
        ahead = more + (2 * planned["total"] if planned else 0.0)  # this stage, and the last one on the same rows
        return self._total().total + ahead <= limits.flops

    def finish(self, stage: Stage, whole: Plan) -> PickRecord:
        """The last stage, and what everything came to."""
        found = self.run(stage)
        grid, label = grid_cost(whole)
        return PickRecord(
            name=self._sweep.name,
            pair=found.racing[0],
            run=found.run,
            label=LABEL,
            not_separated=not_separated(self._done[:-1]),
            candidates=len(whole.resolved.pairs),
            metric=self._sweep.selection.metric,
            validation=found.score,
            stages=self._done,
            cost=self._total(),
            grid=grid,
            grid_label=label,
            unknown=tuple(sorted({name for cost in self._encoded.values() for name in cost.unknown})),
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
    return WayCost(connectors=planned["total"], encode=sum(c.flops for c in _encoding(whole).values())), label


def _encoding(plan: Plan) -> dict[tuple[str, str], EncodingCost]:
    """(modality, encoder) -> what embedding its rows of the main data costs."""
    resolved = plan.resolved
    own = [request for request in resolved.banks.values() if request.dataset is resolved.dataset]
    return {(request.info.modality, request.spec.id): encoding_cost([request]) for request in own}


def stage_sweep(sweep: Sweep, stage: Stage) -> Sweep:
    """The sweep of a stage: its encoders, its rows, one method, one seed.

    Its name says what it holds, so that other settings never meet another stage's cells.
    """
    pick = sweep.pick
    settings = {**pick.settings, "polish": stage.last, "at_most_gap": pick.at_most_gap}
    settings["batch_size"] = min(pick.settings.get("batch_size", BATCH), stage.train)
    tasks = [task for task in sweep.tasks if task.label == sweep.selection.task or (stage.last and task.data is None)]
    made = sweep.model_copy(
        update={
            "image_encoders": _written(sweep.image_encoders, stage.images),
            "text_encoders": _written(sweep.text_encoders, stage.texts),
            "sample": SampleConfig(train=stage.train, validation=stage.validation, test=pick.test if stage.last else 0),
            "first_image_encoders": None,
            "tasks": tasks,
            "methods": {LABEL: MethodConfig(method=pick.method, config=settings)},
            "reference": None,
            "seeds": sweep.seeds[:1],
        }
    )
    content = made.model_dump(mode="json", exclude={"name", "storage", "source", "pick", "bank"})
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return made.model_copy(update={"name": f"{sweep.name}-pick-{stage.number}-{digest[:8]}"})


def _written(configs: Sequence[EncoderConfig] | None, names: Sequence[str]) -> list[EncoderConfig]:
    known = {config.id: config for config in configs or ()}
    return [known.get(name, EncoderConfig(id=name)) for name in names]
