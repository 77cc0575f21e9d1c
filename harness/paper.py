"""A sweep without its data: what the sweep file itself states is enough to plan it, and to try it on stand-ins."""

from dataclasses import dataclass

from harness.config import EncoderConfig, Sweep, TaskConfig
from harness.data.splits import SplitConfig
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
        HarnessError: Files are absent and the sweep file does not state ``rows``, or an encoder's ``dim``.
    """
    try:
        return Workspace(sweep), None
    except MissingData as missing:
        return Workspace(on_paper(sweep, missing)), str(missing)


def on_paper(sweep: Sweep, missing: MissingData) -> Sweep:
    """The sweep over ``shapes``: the training rows of its split, and retrieval (which needs no data of its own).

    Args:
        sweep: A sweep whose files are absent.
        missing: What is absent: raised again where the sweep file does not state enough.
    """
    rows = sweep.data.get("rows")
    if not isinstance(rows, int):
        raise missing
    shapes = {
        modality: {name: {"dim": s.dim, "params": s.params} for name, s in stated(sweep, modality, missing).items()}
        for modality in ("image", "text")
    }
    split = SplitConfig.model_validate(sweep.data.get("split", {}))
    captions = sweep.data.get("captions_per_image") or 1
    data = {"kind": "shapes", "rows": round(rows * split.train), "captions_per_image": captions, **shapes}
    retrieval = [task for task in sweep.tasks if task.kind == "retrieval"]
    tasks = retrieval or [TaskConfig(kind="retrieval", label="retrieval")]
    update: dict[str, object] = {"data": data, "tasks": tasks}
    if sweep.task(sweep.selection.task).kind != "retrieval":
        update["selection"] = sweep.selection.model_copy(update={"task": tasks[0].label, "metric": "text_to_image_r5"})
    return sweep.model_copy(update=update)


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
