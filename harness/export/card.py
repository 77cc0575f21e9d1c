"""The model card of an exported connector: what it is, what it reaches, whose weights it needs, how to load it."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from harness.connectors.stored import described
from harness.contract.connector import Connector
from harness.contract.pairs import Pair
from harness.run.records import CellRecord, Manifest, PairMetrics
from harness.run.store import RunStore

Bounds: TypeAlias = Mapping[str, Mapping[str, tuple[float, float]]]
"""Task label -> metric -> 95 % interval."""

Intervals: TypeAlias = Callable[[RunStore, CellRecord, Pair], Bounds]
"""Finds the intervals of a connector's test numbers."""

EXAMPLE = """import harness

model = harness.load("path/to/this/folder")
model.similarity(model.encode_image(images), model.encode_text(["a caption"]))
"""
"""How to use a folder."""

HUB_TASKS = {"retrieval": "zero-shot-image-classification", "zero_shot": "zero-shot-image-classification"}
"""A hub knows no task for retrieval between modalities; this is its nearest."""

KNOWN_LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0")


def model_card(
    manifest: Manifest,
    record: CellRecord,
    metrics: PairMetrics,
    connector: Connector,
    intervals: Bounds,
    *,
    example: str = EXAMPLE,
    head: Sequence[str] = (),
) -> str:
    """The card in Markdown, with the head that model hubs read.

    Args:
        manifest: The run.
        record: The cell that trained the connector.
        metrics: Its numbers.
        connector: The connector.
        intervals: Of its test numbers.
        example: Python that loads and uses it.
        head: Further lines of the head.
    """
    rows = "\n".join(
        f"| {task} | {metric} | {value:.4g} | {_tested(metrics, task, metric, intervals)} |"
        for task, values in metrics.validation.items()
        for metric, value in values.items()
    )
    settings = ", ".join(f"{key} {value}" for key, value in described(connector.kind).items() if key != "kind")
    kind = f"{connector.kind.name} ({settings})" if settings else connector.kind.name
    direction = manifest.connector["direction"].replace("_to_", " into the ")
    terms = "; ".join(f"{name}: {license}" for name, license in _licenses(manifest, metrics).items())
    return f"""{_head(manifest, metrics, head)}
# {metrics.image} x {metrics.text}

A {kind} connector that stitches two frozen encoders: it maps {direction} space.
Trained by `{record.method}` (seed {record.seed}) in the run `{manifest.name}`:
{record.updates_per_pair:.0f} updates of {record.batch_size} samples.

```python
{example}```

| task | metric | validation | test [95 % interval] |
|---|---|---|---|
{rows}

Trained on {manifest.rows["train"]} images of {data_name(manifest)}; the connector was selected on validation data,
the test numbers were not looked at for that. Intervals are by bootstrap over test images (or groups of them).
Licences of the encoders: {terms}.
"""


def _tested(metrics: PairMetrics, task: str, metric: str, intervals: Bounds) -> str:
    value = metrics.test.get(task, {}).get(metric)
    if value is None:
        return "not measured"
    bounds = intervals.get(task, {}).get(metric)
    return f"{value:.4g}" if bounds is None else f"{value:.4g} [{bounds[0]:.4g}, {bounds[1]:.4g}]"


def _licenses(manifest: Manifest, metrics: PairMetrics) -> dict[str, str]:
    encoders = (*manifest.image_encoders, *manifest.text_encoders)
    return {e.id: e.license or "unknown" for e in encoders if e.id in (metrics.image, metrics.text)}


def data_name(manifest: Manifest) -> str:
    """What the training data are called: their name in the sweep file, else their kind. Never a path."""
    data = manifest.sweep.get("data", {})
    kind, name = str(data.get("kind", "data")), data.get("name")
    return (
        f"{name} ({kind})" if isinstance(name, str) and not name.startswith(("/", "~", ".")) else f"data of kind {kind}"
    )


def _head(manifest: Manifest, metrics: PairMetrics, more: Sequence[str]) -> str:
    """The head in YAML; every value is written as JSON, which YAML reads."""
    found = {terms.lower() for terms in _licenses(manifest, metrics).values()}
    only = next(iter(found)) if len(found) == 1 else ""
    lines = [f"license: {only if only in KNOWN_LICENSES else 'other'}"]
    if only not in KNOWN_LICENSES:
        terms = "; ".join(f"{name}: {given}" for name, given in _licenses(manifest, metrics).items())
        lines.append(f"license_name: {json.dumps(terms)}")
    tags = ["model-stitching", "multi-modal", "connector", *sorted({record.kind for record in manifest.tasks})]
    lines += ["library_name: stitch-harness", f"tags: {json.dumps(tags)}"]
    pipeline = next((HUB_TASKS[record.kind] for record in manifest.tasks if record.kind in HUB_TASKS), None)
    lines += [f"pipeline_tag: {pipeline}"] if pipeline else []
    return "---\n" + "\n".join([*lines, *more]) + "\n---\n"
