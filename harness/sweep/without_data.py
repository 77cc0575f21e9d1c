"""Planning without data: what the sweep file itself states is enough to count what a sweep will cost."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from harness.data.base import DATASETS, SizedWithoutFiles
from harness.data.load import load_dataset
from harness.encoders.base import EncoderInfo, EncoderSpec, Modality, scheme_of
from harness.errors import HarnessError, MissingData
from harness.sweep.config import EncoderConfig, SelectionConfig, Sweep, TaskConfig
from harness.sweep.resolve import ResolvedSweep

STATED = ("dim", "params", "flops_per_sample")
"""What a sweep file may state of an encoder whose embeddings are absent."""
SIDES: tuple[Modality, Modality] = ("image", "text")
RETRIEVAL = TaskConfig(kind="retrieval", label="retrieval")
METRIC = "text_to_image_r5"
"""What stands in for a task whose data is not there."""


@dataclass(frozen=True)
class StatedEncoder:
    """What is known of an encoder without its embeddings."""

    dim: int
    params: float | None
    flops_per_sample: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What is known, by name."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


def resolve_or_stand_in(sweep: Sweep) -> tuple[ResolvedSweep, str | None]:
    """The resolved sweep; where its files are absent, the same grid as ``shapes``, and what is absent.

    Raises:
        HarnessError: Files of the main data are absent and their number is not known, or an encoder's ``dim`` is not.
    """
    try:
        return ResolvedSweep(sweep), None
    except MissingData as missing:
        return ResolvedSweep(with_shapes(sweep, missing)), str(missing)


def with_shapes(sweep: Sweep, missing: MissingData) -> Sweep:
    """The sweep with ``shapes`` of the same sizes in the place of what is absent: the main data, and tasks' own.

    Tasks whose sizes are not known (a folder of one's own, labels in an absent file) are left out; if the selection is
    by such a task, retrieval stands in for it.

    Args:
        sweep: A sweep whose files are absent.
        missing: What is absent: raised again where not enough is known without it.
    """
    if sweep.language_models is not None:
        raise missing  # on paper they are planned with data of kind shapes, which says what their configs say
    images, texts = (stated_encoders(sweep, modality, missing) for modality in SIDES)
    shapes = {
        side: {name: stated.facts for name, stated in facts.items()}
        for side, facts in (("image", images), ("text", texts))
    }
    data = _sizes(sweep, sweep.data)
    if data is None:
        raise missing
    there = data is sweep.data
    tasks = []
    for task in sweep.tasks:
        if task.data is None:
            tasks += [task] if task.kind == "retrieval" or there else []
        elif (own := _sizes(sweep, task.data)) is not None:
            tasks.append(task.model_copy(update={"data": own if own is task.data else {**own, **shapes}}))
    tasks = tasks or [RETRIEVAL]
    update: dict[str, Any] = {"tasks": tasks}
    if not there:
        update |= {
            "data": {**data, **shapes},
            "image_encoders": [EncoderConfig(id=name, **stated.facts) for name, stated in images.items()],
            "text_encoders": [EncoderConfig(id=name, **stated.facts) for name, stated in texts.items()],
        }
    if sweep.selection.task not in [task.label for task in tasks]:
        retrieval = next((task for task in tasks if task.kind == "retrieval"), None)
        if retrieval is None:
            raise missing
        update["selection"] = sweep.selection.model_copy(update={"task": retrieval.label, "metric": METRIC})
    return sweep.model_copy(update=update)


def _sizes(sweep: Sweep, config: dict[str, Any]) -> dict[str, Any] | None:
    """The config itself where its files are there; else ``shapes`` of its sizes, without encoders; None: not known."""
    try:
        load_dataset(config, sweep.root)
    except MissingData:
        pass
    else:
        return config
    kind = DATASETS.get(str(config["kind"]), sweep.root)
    if not isinstance(kind, SizedWithoutFiles):
        return None
    sizes = kind.sizes_without_files(kind.Config.model_validate(config, context={"root": sweep.root}))
    return None if sizes is None else {"kind": "shapes", **sizes}


def stated_encoders(sweep: Sweep, modality: Modality, missing: MissingData) -> dict[str, StatedEncoder]:
    """One side's encoders: what the main data or the schemes say, else what the sweep file states.

    Args:
        sweep: The sweep, some of whose files are absent.
        modality: Which side.
        missing: Raised where a dimension cannot be known.
    """
    by_it = SelectionConfig(task="retrieval", metric=METRIC)
    try:
        resolved = ResolvedSweep(sweep.model_copy(update={"tasks": [RETRIEVAL], "selection": by_it}))
    except MissingData:
        return _written_encoders(sweep, modality, missing)
    found = resolved.images if modality == "image" else resolved.texts
    return {name: _stated(encoder.info) for name, encoder in found.items()}


def _stated(info: EncoderInfo) -> StatedEncoder:
    return StatedEncoder(info.dim, info.params, info.flops_per_sample)


def _written_encoders(sweep: Sweep, modality: Modality, missing: HarnessError) -> dict[str, StatedEncoder]:
    """Dimensions of one side's encoders: written in the sweep file, or known to the scheme without any download."""
    configs = sweep.image_encoders if modality == "image" else sweep.text_side
    if configs is None:
        own = sweep.data.get(modality)
        if not isinstance(own, dict):
            raise missing
        configs = [
            EncoderConfig(id=name, **{fact: facts[fact] for fact in STATED if fact in facts})
            for name, facts in ((name, facts if isinstance(facts, dict) else {}) for name, facts in own.items())
        ]
    found = {}
    for config in configs[: sweep.first_image_encoders] if modality == "image" else configs:
        if config.dim is not None:
            found[config.id] = StatedEncoder(config.dim, config.params, config.flops_per_sample)
        elif ":" in config.id:
            spec = EncoderSpec(config.id, options=config.options, **config.facts)
            found[config.id] = _stated(scheme_of(spec).describe(spec, modality))
        else:
            raise missing
    return found
