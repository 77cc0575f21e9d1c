"""``harness sweep --smoke``: any sweep in seconds, to see that it runs from end to end before it is paid for."""

import dataclasses
import os
from typing import Any

import torch

from harness.contract.method import METHODS, Smokes
from harness.data.sampled import SampleConfig
from harness.data.splits import SplitConfig
from harness.errors import MissingData
from harness.sweep.config import MethodConfig, Resources, Sweep, TaskConfig
from harness.sweep.encoders import SweepEncoder
from harness.sweep.resolve import ResolvedSweep
from harness.sweep.without_data import SIDES, StatedEncoder, stated_encoders

ROWS, CLASSES, BATCH = 192, 4, 32
"""Images and classes of the stand-in world; samples of the one step."""

ONE_STEP = 1e-9
"""Updates per pair: any budget below one step is one step."""


def smoked(sweep: Sweep) -> Sweep:
    """The same sweep with one step per cell, the first seed, and a run name of its own.

    Where all banks are there it runs on them; else every encoder is stood in for by a synthetic one of the same
    name and dimension, and every task's own data by that world and its classes. With language models it runs on a few
    of its own pictures.
    A cell holds no GPU where this machine has none.

    Raises:
        HarnessError: The sweep is wrong, or its data is absent and it does not state the dimensions.
    """
    methods = {label: _one_step(sweep, config) for label, config in sweep.methods.items()}
    small = {"name": f"{sweep.name}-smoke", "methods": methods, "seeds": sweep.seeds[:1], "smoke": True}
    if sweep.language_models is not None:
        # No synthetic world holds captions to be read.
        few = SampleConfig(train=ROWS // 2, validation=ROWS // 4, test=ROWS // 4)
        return sweep.model_copy(update={**small, "sample": few})
    try:
        resolved = ResolvedSweep(sweep)
        if all(request.done for request in resolved.banks.values()):
            return sweep.model_copy(update=small)
        images, texts = _stated(resolved.images), _stated(resolved.texts)
    except MissingData as missing:
        images, texts = (stated_encoders(sweep, modality, missing) for modality in SIDES)
    return sweep.model_copy(update={**small, **_stand_in(sweep, images, texts)})


def _stated(encoders: dict[str, SweepEncoder]) -> dict[str, StatedEncoder]:
    return {name: StatedEncoder(encoder.info.dim, encoder.info.params) for name, encoder in encoders.items()}


def _one_step(sweep: Sweep, config: MethodConfig) -> MethodConfig:
    cls = METHODS.get(config.method, sweep.root)
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    smaller: dict[str, Any] = dict(cls.smoke) if isinstance(cls, Smokes) else {}
    if "batch_size" in fields:
        smaller["batch_size"] = BATCH
    update: dict[str, Any] = {"config": {**config.config, **smaller}}
    update["resources"] = config.resources.model_copy(update=_at_hand(config.resources))
    if config.budget:
        update["budget"] = {"updates_per_pair": ONE_STEP}
    return config.model_copy(update=update)


def _at_hand(wanted: Resources) -> dict[str, float]:
    """What this machine has of it: a laptop may try the sweep of a machine with GPUs."""
    return {
        "cpu": min(wanted.cpu, os.cpu_count() or 1),
        "gpu": wanted.gpu if torch.cuda.is_available() else 0,
    }


def _stand_in(sweep: Sweep, images: dict[str, StatedEncoder], texts: dict[str, StatedEncoder]) -> dict[str, Any]:
    data = {
        "kind": "synthetic",
        "name": "stand-in",
        "rows": ROWS,
        "image_encoders": len(images),
        "text_encoders": len(texts),
        "image_names": list(images),
        "text_names": list(texts),
        "image_dims": [encoder.dim for encoder in images.values()],
        "text_dims": [encoder.dim for encoder in texts.values()],
        "classes": CLASSES,
        "split": SplitConfig(train=0.5, validation=0.25, test=0.25).model_dump(),
    }
    tasks = [TaskConfig(kind=task.kind, label=task.label) for task in sweep.tasks]
    return {"data": data, "sample": None, "tasks": tasks}
