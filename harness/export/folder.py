"""Exporting one pair's connector as a folder: safetensors, config.json and a short model card."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from safetensors.torch import save

from harness.connectors.stored import described, from_bytes
from harness.contract.connector import Connector
from harness.contract.pairs import Pair
from harness.contract.registry import near
from harness.encoders.base import Modality
from harness.errors import Damaged, HarnessError
from harness.run.records import CellRecord, Manifest, PairMetrics
from harness.run.store import RunStore
from harness.run.whole import AGAIN_BY_CONTENT

FORMAT = 2
CONNECTOR, CONFIG, CARD = "connector.safetensors", "config.json", "README.md"


def export_connector(store: RunStore, label: str, pair: Pair, out: Path, *, seed: int | None = None) -> Path:
    """Write one pair's connector.

    Args:
        store: The run.
        label: The method's label.
        pair: (image encoder, text encoder).
        out: Folder to write; must not hold anything.
        seed: The cell's seed; None: the seed whose connector of this pair is best on validation.

    Returns:
        The folder.

    Raises:
        Damaged: The record or the connectors are.
        HarnessError: No such method, pair, seed or connector, or the folder is not empty.
    """
    manifest = store.manifest()
    out = check_free(out)
    record, metrics = finished_connector(store, manifest, label, pair, seed)
    data = store.connectors(record.key)
    if data is None:  # of an older version, whose records do not say which files they have
        raise Damaged("its connectors are gone", where=f"{store.where}/connectors/{record.key}", fix=AGAIN_BY_CONTENT)
    connector = from_bytes(data, record.pairs.index(pair), where=record.key)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.mkdir(parents=True)
        (temporary / CONNECTOR).write_bytes(save(dict(connector.tensors)))
        config = _config(manifest, record, metrics, connector)
        (temporary / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        (temporary / CARD).write_text(_card(manifest, record, metrics, connector), encoding="utf-8")
        if out.exists():
            out.rmdir()
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def check_free(out: Path) -> Path:
    """The folder's absolute path.

    Raises:
        HarnessError: Something is there already.
    """
    out = out.expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HarnessError("is there already", where=str(out), fix="name a folder that does not exist")
    return out


def finished_connector(
    store: RunStore, manifest: Manifest, label: str, pair: Pair, seed: int | None
) -> tuple[CellRecord, PairMetrics]:
    """The cell that holds the pair's connector: at the last rung that the pair reached, the best seed on validation.

    Raises:
        HarnessError: No such method, pair, seed or connector.
    """
    if label not in manifest.methods:
        raise HarnessError(f"the run has no method {label!r}", fix=near(label, manifest.methods))
    if pair not in manifest.pairs:
        names = [" x ".join(p) for p in manifest.pairs]
        raise HarnessError(f"the run has no pair {' x '.join(pair)}", fix=near(" x ".join(pair), names))
    if seed is not None and seed not in manifest.seeds:
        raise HarnessError(f"the run has no seed {seed}", fix=f"seeds: {manifest.seeds}")
    rungs = {cell.key: cell.rung or 0 for cell in manifest.cells if cell.label == label and pair in cell.pairs}
    records = [store.record(key) for key in sorted(store.finished(rungs))]
    measured = [
        (record, metrics)
        for record in records
        if record.status == "done" and seed in (None, record.seed)
        for metrics in record.metrics
        if (metrics.image, metrics.text) == pair
    ]
    candidates = [found for found in measured if found[1].validation]
    if not candidates:
        if manifest.methods[label].kind == "score":
            raise HarnessError(f"method {label!r} trains no connectors", fix="export another method's")
        if measured:
            what = f"method {label!r} predicted the score of {' x '.join(pair)} and trained no connector for it"
            raise HarnessError(what, fix="export another pair, or another method's connector")
        raise HarnessError("no finished connector of this method, pair and seed", fix="run the sweep first")
    sign = 1 if manifest.selection.higher_is_better else -1
    return max(candidates, key=lambda found: (rungs[found[0].key], sign * found[1].score))


def _config(manifest: Manifest, record: CellRecord, metrics: PairMetrics, connector: Connector) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "image_encoder": _as_written(manifest, "image", metrics.image),
        "text_encoder": _as_written(manifest, "text", metrics.text),
        "revisions": {
            e.id: e.revision
            for e in (*manifest.image_encoders, *manifest.text_encoders)
            if e.id in (metrics.image, metrics.text)
        },
        "connector": described(connector.kind),
        "weights": {
            bank.modality: bank.weights
            for bank in manifest.banks.values()
            if bank.weights and bank.encoder == (metrics.image if bank.modality == "image" else metrics.text)
        },
        "direction": manifest.connector["direction"],
        "selection": manifest.selection.model_dump(),
        "validation": metrics.validation,
        "test": metrics.test,
        "run": manifest.name,
        "method": record.method,
        "method_version": record.version,
        "seed": record.seed,
        "cell": record.key,
        "provenance": record.provenance,
    }


def _written(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _as_written(manifest: Manifest, side: Modality, encoder: str) -> dict[str, Any]:
    """An encoder with its options as the sweep file has them on this side; the other side may use the id otherwise."""
    listed = manifest.sweep[f"{side}_encoders"] or []
    return next((entry for entry in listed if entry["id"] == encoder), {"id": encoder})


def _card(manifest: Manifest, record: CellRecord, metrics: PairMetrics, connector: Connector) -> str:
    licenses = {
        e.id: e.license or "unknown"
        for e in (*manifest.image_encoders, *manifest.text_encoders)
        if e.id in (metrics.image, metrics.text)
    }
    rows = "\n".join(
        f"| {task} | {metric} | {value:.4g} | {_written(metrics.test.get(task, {}).get(metric))} |"
        for task, values in metrics.validation.items()
        for metric, value in values.items()
    )
    settings = ", ".join(f"{key} {value}" for key, value in described(connector.kind).items() if key != "kind")
    kind = f"{connector.kind.name} ({settings})" if settings else connector.kind.name
    direction = manifest.connector["direction"].replace("_to_", " into the ")
    return f"""# {metrics.image} x {metrics.text}

A {kind} connector that stitches two frozen encoders: it maps {direction} space.
Trained by `{record.method}` (seed {record.seed}) in the run `{manifest.name}`:
{record.updates_per_pair:.0f} updates of {record.batch_size} samples.

```python
import harness

model = harness.load("path/to/this/folder")
model.similarity(model.encode_image(images), model.encode_text(["a caption"]))
```

| task | metric | validation | test |
|---|---|---|---|
{rows}

Trained on {manifest.rows["train"]} images; the connector was selected on validation data, the test numbers were not
looked at for that. Licences of the encoders: {"; ".join(f"{name}: {terms}" for name, terms in licenses.items())}.
"""
