"""What a model card says for the Hugging Face hub besides: base models, data, and numbers that the hub can read."""

import json
import re
from typing import Any

from harness.export.card import HUB_TASKS, data_name
from harness.run.records import Manifest, PairMetrics

HUB_EXAMPLE = """import harness, huggingface_hub

model = harness.load(huggingface_hub.snapshot_download("your-name/this-repository"))
model.similarity(model.encode_image(["cat.jpg"]), model.encode_text(["a cat"]))
"""
"""How to use a repository."""

REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)(@\S+)?")
"""A revision that names a repository of the hub, with or without its commit."""


def hub_head(manifest: Manifest, metrics: PairMetrics) -> list[str]:
    """Lines of the card's head; every value is written as JSON, which YAML reads."""
    lines = []
    if bases := _base_models(manifest, metrics):
        lines.append(f"base_model: {json.dumps(bases)}")
    data = manifest.sweep.get("data", {})
    if data.get("kind") == "huggingface" and REPOSITORY.fullmatch(str(data.get("name"))):
        lines.append(f"datasets: {json.dumps([data['name']])}")
    results = [
        {
            "task": {"type": HUB_TASKS.get(task.kind, "other"), "name": task.label},
            "dataset": {"type": _slug(data_name(manifest)), "name": data_name(manifest), "split": "test"},
            "metrics": [
                {"type": metric, "name": metric, "value": value} for metric, value in metrics.test[task.label].items()
            ],
        }
        for task in manifest.tasks
        if metrics.test.get(task.label)
    ]
    if results:
        index: list[dict[str, Any]] = [{"name": f"{metrics.image} x {metrics.text}", "results": results}]
        lines.append(f"model-index: {json.dumps(index)}")
    return lines


def _base_models(manifest: Manifest, metrics: PairMetrics) -> list[str]:
    """Repositories of the encoders, where their weights come from one."""
    encoders = (*manifest.image_encoders, *manifest.text_encoders)
    used = [e.revision for e in encoders if e.id in (metrics.image, metrics.text)]
    return list(dict.fromkeys(found[1] for revision in used if (found := REPOSITORY.fullmatch(revision))))


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
