"""Exporting one pair's connector as a folder: safetensors, config.json and a model card, in the shape of a hub's."""

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
from harness.export.card import Intervals, model_card
from harness.export.forms import CARD, FORMS, ToExport
from harness.run.records import CellRecord, Manifest, PairMetrics
from harness.run.store import RunStore
from harness.run.whole import AGAIN_BY_CONTENT

FORMAT = 2
CONNECTOR, CONFIG = "connector.safetensors", "config.json"


def export_connector(
    store: RunStore,
    label: str,
    pair: Pair,
    out: Path,
    *,
    seed: int | None = None,
    intervals: Intervals | None = None,
    form: str = "folder",
) -> Path:
    """Write one pair's connector.

    Args:
        store: The run.
        label: The method's label.
        pair: (image encoder, text encoder).
        out: Folder to write; must not hold anything.
        seed: The cell's seed; None: the seed whose connector of this pair is best on validation.
        intervals: Finds the intervals of a connector's test numbers, for the card; None: it has none.
        form: Registered name of what the folder holds besides: ``folder``, ``hub``, ``onnx``.

    Returns:
        The folder.

    Raises:
        Damaged: The record or the connectors are.
        HarnessError: No such method, pair, seed or connector, or the folder is not empty.
    """
    manifest, more = store.manifest(), FORMS.get(form)
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
        found = intervals(store, record, pair) if intervals else {}
        config = _config(manifest, record, metrics, connector) | {"test_ci95": found}
        (temporary / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        (temporary / CARD).write_text(model_card(manifest, record, metrics, connector, found), encoding="utf-8")
        for name, content in more(ToExport(manifest, record, metrics, connector, config, found)).items():
            (temporary / name).write_bytes(content)
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


def stored_connector(store: RunStore, label: str, pair: Pair) -> tuple[Connector, int]:
    """A pair's connector under a method, of the seed that is best on validation, and that seed.

    Raises:
        HarnessError: There is none.
    """
    record, _ = finished_connector(store, store.manifest(), label, pair, None)
    data = store.connectors(record.key)
    assert data is not None, "only cells with connectors are found"
    return from_bytes(data, record.pairs.index(pair), where=record.key), record.seed


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


def _as_written(manifest: Manifest, side: Modality, encoder: str) -> dict[str, Any]:
    """An encoder with its options as the sweep file has them on this side; the other side may use the id otherwise."""
    listed = manifest.sweep[f"{side}_encoders"] or []
    if side == "text":
        listed = manifest.sweep.get("language_models") or listed
    return next((entry for entry in listed if entry["id"] == encoder), {"id": encoder})
