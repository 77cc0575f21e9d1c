"""The stages of a pick: which encoders meet on how many rows, and the sweep that each of them is."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.contract.method import METHODS
from harness.contract.pairs import Pair
from harness.data.sampled import SampleConfig
from harness.errors import HarnessError
from harness.sweep.config import EncoderConfig, MethodConfig, PickConfig, Sweep
from harness.sweep.encoding import EncodingCost, encoding_cost
from harness.sweep.located import errors_located
from harness.sweep.plan import Plan
from harness.sweep.settings import build_config

LABEL = "pick"
"""What a stage calls its only method."""

SHARE = 0.1
"""Share of the training images in the first stage of small data."""

FEWEST = 100
"""Training images of the first stage at least."""

BATCH = 128
"""Samples of an update where ``pick.settings`` does not say."""

NEEDED = ("polish", "at_most_gap", "batch_size")
"""Fields that a method needs to be picked with."""


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


def first_stage(whole: Plan) -> Stage:
    """All encoders that may be picked, on few rows: ``pick.first`` images, of small data a tenth."""
    splits, settings = whole.resolved.index.splits, whole.sweep.pick
    train = len(splits["train"])
    rows = int(min(settings.first, settings.most or math.inf, max(FEWEST, math.ceil(SHARE * train)), train))
    images, texts = (tuple(dict.fromkeys(names)) for names in zip(*candidates(whole), strict=True))
    return Stage(1, images, texts, rows, min(len(splits["validation"]), settings.validation, rows))


def larger_stage(stage: Stage, images: Sequence[str], texts: Sequence[str], whole: Plan) -> Stage:
    """The stage after this one: more rows, as far as there are and as ``pick.most`` allows, for these encoders."""
    splits, settings = whole.resolved.index.splits, whole.sweep.pick
    most = min(len(splits["train"]), settings.most or math.inf)
    rows = int(min(math.ceil(stage.train * settings.growth), most))
    validation = min(len(splits["validation"]), settings.validation)
    return Stage(stage.number + 1, tuple(images), tuple(texts), rows, validation)


def last_stage(stage: Stage, pair: Pair, whole: Plan) -> Stage:
    """One pair on the rows of the stage before: its connector is polished, and measured on test data."""
    final = larger_stage(stage, pair[:1], pair[1:], whole)
    return replace(final, train=stage.train, last=True)


def candidates(whole: Plan) -> list[Pair]:
    """Pairs that may turn out to meet the constraints."""
    return [pair for pair in whole.resolved.pairs if whole.may_allow(pair)]


def kept(names: Sequence[str], settings: PickConfig) -> int:
    """How many of these encoders of one side may go on."""
    return max(1, math.ceil(settings.keep * len(names)))


def remaining(racing: Sequence[Pair], stage: Stage, settings: PickConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Encoders that go on: those of racing pairs, and of each side no more than the stage may keep, the best first.

    All pairs of these go on, also one that had left the race: more rows may bring it back.
    """
    found = []
    for side, names in enumerate((stage.images, stage.texts)):
        best_first = list(dict.fromkeys(pair[side] for pair in racing))
        found.append(tuple(best_first[: kept(names, settings)]))
    return found[0], found[1]


def check_pick(sweep: Sweep) -> None:
    """Find what is wrong with ``pick``: its method, and the settings of it.

    Raises:
        HarnessError: No such method, or one that lacks a field, or a wrong setting.
    """
    pick = sweep.pick
    with errors_located(sweep.source, "pick.method"):
        found = METHODS.get(pick.method, sweep.root)
        fields = {field.name for field in dataclasses.fields(found)} if dataclasses.is_dataclass(found) else set()
        if lacking := [name for name in NEEDED if name not in fields]:
            what = f"{pick.method!r} cannot be picked with: it has no field {', '.join(lacking)}"
            raise HarnessError(what, fix="use winner, or a plug-in with these fields")
    with errors_located(sweep.source, "pick.settings"):
        build_config(found, pick.settings, where="pick.settings")


def stage_sweep(sweep: Sweep, stage: Stage) -> Sweep:
    """The sweep of a stage: its encoders, its rows, one method, one seed.

    Its name says what it holds, so that other settings never meet another stage's cells.
    """
    pick = sweep.pick
    settings: dict[str, Any] = {**pick.settings, "polish": stage.last, "at_most_gap": pick.at_most_gap}
    settings["batch_size"] = min(int(pick.settings.get("batch_size", BATCH)), stage.train)
    tasks = [task for task in sweep.tasks if task.label == sweep.selection.task or (stage.last and task.data is None)]
    texts = "text_encoders" if sweep.language_models is None else "language_models"
    made = sweep.model_copy(
        update={
            "image_encoders": _written(sweep.image_encoders, stage.images),
            texts: _written(sweep.text_side, stage.texts),
            "sample": SampleConfig(train=stage.train, validation=stage.validation, test=pick.test if stage.last else 0),
            "first_image_encoders": None,
            "tasks": tasks,
            "methods": {LABEL: MethodConfig(method=pick.method, resources=pick.resources, config=settings)},
            "reference": None,
            "seeds": sweep.seeds[:1],
        }
    )
    content = made.model_dump(mode="json", exclude={"name", "storage", "source", "pick", "bank"})
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return made.model_copy(update={"name": f"{sweep.name}-pick-{stage.number}-{digest[:8]}"})


def encoding_of(plan: Plan) -> Mapping[tuple[str, str, str], EncodingCost]:
    """(dataset, modality, encoder) -> what embedding the rows costs that the plan selects with.

    These are the sampled rows of the main data, also where it brings its embeddings: they stand for an embedding. Data
    that other tasks bring is left out.
    """
    resolved = plan.resolved
    selecting = {dataset.digest for dataset, _ in resolved.selection_evaluation.banks()}
    found = {}
    for (digest, modality, encoder), request in resolved.banks.items():
        if digest == resolved.dataset.digest:
            rows = request.dataset.needed(modality) if request.rows is None else request.rows
            found[digest, modality, encoder] = encoding_cost([replace(request, rows=rows)])
        elif digest in selecting:
            found[digest, modality, encoder] = encoding_cost([request])
    return found


def _written(configs: Sequence[EncoderConfig] | None, names: Sequence[str]) -> list[EncoderConfig]:
    known = {config.id: config for config in configs or ()}
    return [known.get(name, EncoderConfig(id=name)) for name in names]
