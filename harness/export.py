"""Exporting one pair's connector as a folder: safetensors, config.json and a short model card."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save

from harness.errors import HarnessError
from harness.method import Pair
from harness.registry import near
from harness.store import CellRecord, Manifest, PairMetrics, RunStore

FORMAT = 1
CONNECTOR, CONFIG, CARD = "connector.safetensors", "config.json", "README.md"


def export_connector(store: RunStore, label: str, pair: Pair | None, out: Path, *, seed: int | None = None) -> Path:
    """Write one pair's connector.

    Args:
        store: The run.
        label: The method's label.
        pair: (image encoder, text encoder); None: the method's pick, the best on validation.
        out: Folder to write; must not hold anything.
        seed: The cell's seed; None: the seed whose connector is best on validation.

    Returns:
        The folder.

    Raises:
        HarnessError: No such method, pair, seed or connector, or the folder is not empty.
    """
    manifest = store.manifest()
    if label not in manifest.methods:
        raise HarnessError(f"the run has no method {label!r}", fix=near(label, manifest.methods))
    out = out.expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HarnessError("is there already", where=str(out), fix="name a folder that does not exist")
    record, metrics = _pick(store, manifest, label, pair, seed)
    number = record.pairs.index((metrics.image, metrics.text))
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.mkdir(parents=True)
        prefix = f"{number}."
        with safe_open(store.connectors_path(record.key), framework="pt") as file:
            tensors = {n.removeprefix(prefix): file.get_tensor(n) for n in file.keys() if n.startswith(prefix)}  # noqa: SIM118
        (temporary / CONNECTOR).write_bytes(save(tensors))
        config = _config(manifest, record, metrics)
        (temporary / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        (temporary / CARD).write_text(_card(manifest, record, metrics), encoding="utf-8")
        if out.exists():
            out.rmdir()
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _pick(
    store: RunStore, manifest: Manifest, label: str, pair: Pair | None, seed: int | None
) -> tuple[CellRecord, PairMetrics]:
    """The best candidate by the method's own validation score."""
    if pair is not None and pair not in manifest.pairs:
        names = [" x ".join(p) for p in manifest.pairs]
        raise HarnessError(f"the run has no pair {' x '.join(pair)}", fix=near(" x ".join(pair), names))
    if seed is not None and seed not in manifest.seeds:
        raise HarnessError(f"the run has no seed {seed}", fix=f"seeds: {manifest.seeds}")
    keys = {cell.key for cell in manifest.cells if cell.label == label}
    records = [r for key, r in store.records(manifest).items() if key in keys and r.status == "done"]
    candidates = [
        (record, metrics)
        for record in records
        if seed is None or record.seed == seed
        for metrics in record.metrics
        if (pair is None or (metrics.image, metrics.text) == pair) and store.connectors_path(record.key).is_file()
    ]
    if not candidates:
        if manifest.methods[label].kind == "score":
            raise HarnessError(f"method {label!r} trains no connectors", fix="export another method's")
        raise HarnessError("no finished connector of this method, pair and seed", fix="run the sweep first")
    sign = 1 if manifest.selection.higher_is_better else -1
    return max(candidates, key=lambda candidate: sign * candidate[1].score)


def _config(manifest: Manifest, record: CellRecord, metrics: PairMetrics) -> dict[str, Any]:
    written = {e["id"]: e for side in ("image", "text") for e in manifest.sweep[f"{side}_encoders"] or []}
    return {
        "format": FORMAT,
        "image_encoder": written.get(metrics.image, {"id": metrics.image}),
        "text_encoder": written.get(metrics.text, {"id": metrics.text}),
        "revisions": {
            e.id: e.revision
            for e in (*manifest.image_encoders, *manifest.text_encoders)
            if e.id in (metrics.image, metrics.text)
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


def _card(manifest: Manifest, record: CellRecord, metrics: PairMetrics) -> str:
    licenses = {
        e.id: e.license or "unknown"
        for e in (*manifest.image_encoders, *manifest.text_encoders)
        if e.id in (metrics.image, metrics.text)
    }
    rows = "\n".join(
        f"| {task} | {metric} | {value:.4g} | {metrics.test.get(task, {}).get(metric, float('nan')):.4g} |"
        for task, values in metrics.validation.items()
        for metric, value in values.items()
    )
    connector = manifest.connector
    return f"""# {metrics.image} x {metrics.text}

A connector that stitches two frozen encoders: it maps {connector["direction"].replace("_to_", " into the ")} space
({connector["hidden_layers"]} hidden layers). Trained by `{record.method}` (seed {record.seed}) in the run
`{manifest.name}`: {record.updates_per_pair:.0f} updates of {record.batch_size} samples.

```python
import harness

model = harness.load("{"path/to/this/folder"}")
model.similarity(model.encode_image(images), model.encode_text(["a caption"]))
```

| task | metric | validation | test |
|---|---|---|---|
{rows}

Trained on {manifest.rows["train"]} images; the connector was selected on validation data, the test numbers were not
looked at for that. Licences of the encoders: {"; ".join(f"{name}: {terms}" for name, terms in licenses.items())}.
"""
