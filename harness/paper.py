"""A sweep without its data: what the sweep file itself states is enough to plan it, and to try it on stand-ins."""

from dataclasses import dataclass
from typing import Any

from harness.config import EncoderConfig, SelectionConfig, Sweep, TaskConfig
from harness.data.base import DATASETS
from harness.data.load import load_dataset
from harness.encoders.base import EncoderSpec, Modality, scheme_of
from harness.errors import HarnessError, MissingData
from harness.workspace import Workspace


@dataclass(frozen=True)
class Stated:
    """What is known of an encoder without its embeddings."""

    dim: int
    params: float | None


def workspace_or_paper(sweep: Sweep) -> tuple[Workspace, str | None]:
    """The resolved sweep; where its files are absent, the same grid as ``shapes``, and what is absent.

    Raises:
        HarnessError: Files of the main data are absent and their number is not known, or an encoder's ``dim`` is not.
    """
    try:
        return Workspace(sweep), None
    except MissingData as missing:
        return Workspace(on_paper(sweep, missing)), str(missing)


def on_paper(sweep: Sweep, missing: MissingData) -> Sweep:
    """The sweep with ``shapes`` of the same sizes in the place of what is absent: the main data, and tasks' own.

    Tasks whose sizes are not known (a folder of one's own, labels in an absent file) are left out; if the selection is
    by such a task, retrieval stands in for it.

    Args:
        sweep: A sweep whose files are absent.
        missing: What is absent: raised again where not enough is known without it.
    """
    images, texts = (encoders_of(sweep, modality, missing) for modality in _SIDES)
    shapes = {
        side: {name: {"dim": s.dim, "params": s.params} for name, s in facts.items()}
        for side, facts in (("image", images), ("text", texts))
    }
    data = _sizes_on_paper(sweep, sweep.data)
    if data is None:
        raise missing
    there = data is sweep.data
    tasks = []
    for task in sweep.tasks:
        if task.data is None:
            tasks += [task] if task.kind == "retrieval" or there else []
        elif (own := _sizes_on_paper(sweep, task.data)) is not None:
            tasks.append(task.model_copy(update={"data": own if own is task.data else {**own, **shapes}}))
    tasks = tasks or [TaskConfig(kind="retrieval", label="retrieval")]
    update: dict[str, Any] = {"tasks": tasks}
    if not there:
        update |= {
            "data": {**data, **shapes},
            "image_encoders": [EncoderConfig(id=name, dim=s.dim, params=s.params) for name, s in images.items()],
            "text_encoders": [EncoderConfig(id=name, dim=s.dim, params=s.params) for name, s in texts.items()],
        }
    if sweep.selection.task not in [task.label for task in tasks]:
        retrieval = next((task for task in tasks if task.kind == "retrieval"), None)
        if retrieval is None:
            raise missing
        update["selection"] = sweep.selection.model_copy(update={"task": retrieval.label, "metric": "text_to_image_r5"})
    return sweep.model_copy(update=update)


_SIDES: tuple[Modality, Modality] = ("image", "text")


def _sizes_on_paper(sweep: Sweep, config: dict[str, Any]) -> dict[str, Any] | None:
    """The config itself where its files are there; else ``shapes`` of its sizes, without encoders; None: not known."""
    try:
        load_dataset(config, sweep.root)
    except MissingData:
        pass
    else:
        return config
    kind: Any = DATASETS.get(str(config["kind"]), sweep.root)
    known = getattr(kind, "on_paper", None)
    sizes = known(kind.Config.model_validate(config, context={"root": sweep.root})) if known else None
    return None if sizes is None else {"kind": "shapes", **sizes}


def encoders_of(sweep: Sweep, modality: Modality, missing: MissingData) -> dict[str, Stated]:
    """One side's encoders: what the main data or the schemes say, else what the sweep file states.

    Args:
        sweep: The sweep, some of whose files are absent.
        modality: Which side.
        missing: Raised where a dimension cannot be known.
    """
    plain = TaskConfig(kind="retrieval", label="retrieval")
    by_it = SelectionConfig(task="retrieval", metric="text_to_image_r5")
    try:
        workspace = Workspace(sweep.model_copy(update={"tasks": [plain], "selection": by_it}))
    except MissingData:
        return stated(sweep, modality, missing)
    found = workspace.images if modality == "image" else workspace.texts
    return {name: Stated(info.dim, info.params) for name, (_, info) in found.items()}


def stated(sweep: Sweep, modality: Modality, missing: HarnessError) -> dict[str, Stated]:
    """Dimensions of one side's encoders: written in the sweep file, or told by the scheme without any download.

    Args:
        sweep: The sweep.
        modality: Which side.
        missing: Raised where a dimension cannot be known.
    """
    configs = sweep.image_encoders if modality == "image" else sweep.text_encoders
    if configs is None:
        own = sweep.data.get(modality)
        if not isinstance(own, dict):
            raise missing
        configs = [
            EncoderConfig(id=name, **{fact: facts[fact] for fact in ("dim", "params") if fact in facts})
            for name, facts in ((name, facts if isinstance(facts, dict) else {}) for name, facts in own.items())
        ]
    found = {}
    for config in configs[: sweep.first_image_encoders] if modality == "image" else configs:
        if config.dim is not None:
            found[config.id] = Stated(config.dim, config.params)
        elif ":" in config.id:
            spec = EncoderSpec(config.id, options=config.options, **config.facts)
            info = scheme_of(spec).describe(spec, modality)
            found[config.id] = Stated(info.dim, info.params)
        else:
            raise missing
    return found
