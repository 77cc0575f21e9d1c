"""A run made by hand: real files through RunStore, with scores, costs and gaps that a test chooses."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from harness.contract.metric import measured, values
from harness.run.records import (
    CellRecord,
    CheckpointRecord,
    LedgerRecord,
    Manifest,
    PairMetrics,
    PlannedMethod,
    SelectionRecord,
    TaskRecord,
)
from harness.run.store import RunStore
from harness.sweep.planned import EncoderRecord, PlannedCell
from harness.tasks.recall import per_query
from harness.tasks.retrieval import Retrieval
from reports.build import Report, build_report

METRICS = Retrieval.metrics
Statuses = dict[tuple[int, int | None], Literal["done", "failed", "diverged", "timeout", "missing"]]


@dataclass
class Spec:
    """One method of a made-up run. ``val`` and ``test`` are [seeds, pairs]; test None or NaN: no connector."""

    val: np.ndarray
    test: np.ndarray | None = None
    kind: Literal["per_pair", "joint", "score"] = "per_pair"
    batch_size: int | None = 128
    pairs_per_step: int | None = 1
    updates: float = 100.0  # per pair
    flops: float = 1e9  # per cell
    eval_share: float = 0.0
    wasted: float = 0.0  # what lost attempts spent, as a share of flops and wall_s, on top of both
    wall_s: float = 10.0  # per cell
    cpus: float = 1.0
    checkpoints: dict[float, np.ndarray] = field(default_factory=dict)  # share of the updates -> [seeds, pairs]
    status: Statuses = field(default_factory=dict)  # (seed row, pair or None for joint) -> status
    params: int = 1000


def ranks_for(value: float, queries: int, metric: str, rng: np.random.Generator, ease: np.ndarray) -> np.ndarray:
    """Ranks whose metric is ``value``: hits on the easiest images (recalls), or a spread around it (median rank)."""
    if metric == "median_rank":
        spread = np.arange(queries) - queries // 2
        return np.maximum(1, value + rng.permutation(np.round(spread * (value - 1) / queries))).astype(np.int32)
    k = int(metric.rpartition("_r")[2])
    order = np.argsort(ease + 0.5 * rng.standard_normal(queries))
    ranks = np.full(queries, k + 7, dtype=np.int32)
    ranks[order[: round(value * queries)]] = 1
    return ranks


def make_run(
    folder: Path,
    methods: dict[str, Spec],
    *,
    images: int = 3,
    texts: int = 2,
    metric: str = "text_to_image_r5",
    reference: str | None = "ape",
    queries: int = 200,
    train: int = 1280,
    arrays: bool = True,
    pairs: list[tuple[str, str]] | None = None,
    names: tuple[list[str], list[str]] | None = None,
    dims: tuple[int, int] = (384, 768),
    connector: dict[str, object] | None = None,
    task: str = "retrieval",
) -> RunStore:
    """Write a run and return its store."""
    image_ids, text_ids = names or (
        [f"synthetic:image{n}" for n in range(images)],
        [f"synthetic:text{n}" for n in range(texts)],
    )
    pairs = pairs or [(i, t) for i in image_ids for t in text_ids]
    store = RunStore(str(folder))
    n_seeds = len(next(iter(methods.values())).val)
    cells: list[PlannedCell] = []
    rng = np.random.default_rng(7)
    ease = rng.standard_normal(queries)
    unit = np.arange(queries, dtype=np.int32)
    for label, spec in methods.items():
        for row in range(n_seeds):
            groups = [[n] for n in range(len(pairs))] if spec.kind == "per_pair" else [list(range(len(pairs)))]
            for group in groups:
                key = hashlib.sha256(f"{label}-{row}-{group}".encode()).hexdigest()
                own = [pairs[n] for n in group]
                cells.append(PlannedCell(key=key, label=label, seed=row, pairs=own, cpus=spec.cpus, gpus=0))
                status = spec.status.get((row, group[0] if spec.kind == "per_pair" else None), "done")
                if status == "missing":
                    continue
                arrays_out: dict[str, np.ndarray] = {}
                metrics: list[PairMetrics] = []
                for place, n in enumerate(group):
                    if status != "done":
                        continue
                    test: dict[str, dict[str, float]] = {}
                    if spec.test is not None and np.isfinite(spec.test[row, n]):
                        drawn = ranks_for(float(spec.test[row, n]), queries, metric, rng, ease)
                        ranks = {"text_to_image": drawn, "image_to_text": drawn}
                        asked = {name: per_query(name, ranks) for name in measured(METRICS)}
                        test = {task: values(METRICS, asked)}
                        arrays_out |= {f"{place}/{task}/{name}": row for name, row in asked.items()}
                        arrays_out |= {f"{task}/{query}/unit": unit for query in ranks}
                    metrics.append(
                        PairMetrics(image=pairs[n][0], text=pairs[n][1], score=float(spec.val[row, n]), test=test)
                    )
                batch = spec.batch_size or 0
                steps = spec.updates * len(group) / (spec.pairs_per_step or 1)
                curve = [
                    CheckpointRecord(
                        step=round(share * steps),
                        epoch=share * steps / max(1, train // batch) if batch else 0.0,
                        updates_per_pair=share * spec.updates,
                        samples_per_pair=share * spec.updates * batch,
                        flops=share * spec.flops,
                        seconds=share * spec.wall_s,
                        scores=[float(scores[row, n]) for n in group],
                    )
                    for share, scores in spec.checkpoints.items()
                ]
                record = CellRecord(
                    key=key,
                    label=label,
                    method=label,
                    kind=spec.kind,
                    version=1,
                    seed=row,
                    pairs=own,
                    status=status,
                    metrics=metrics,
                    curve=curve,
                    ledger=LedgerRecord(
                        flops={
                            "connector": spec.flops * (0.75 - spec.eval_share),
                            "logits": spec.flops * 0.25,
                            "eval": spec.flops * spec.eval_share,
                            "wasted": spec.flops * spec.wasted,
                            "runner_eval": 5.0,
                        },
                        seconds={
                            "fit": spec.wall_s * 0.9,
                            "train": spec.wall_s * 0.7,
                            "eval": spec.wall_s * 0.1,
                            "runner_eval": spec.wall_s * 0.05,
                            "wasted": spec.wall_s * spec.wasted,
                        },
                        updates=round(spec.updates * len(group)),
                        samples=round(spec.updates * len(group) * batch),
                    ),
                    batch_size=spec.batch_size,
                    pairs_per_step=spec.pairs_per_step,
                    updates_per_pair=spec.updates,
                    samples_per_pair=spec.updates * batch,
                    trained_params=spec.params,
                    wall_s=spec.wall_s * (1 + spec.wasted),
                    device_s=spec.wall_s * 0.9,
                    cpus=spec.cpus,
                    diverged_step=12 if status == "diverged" else None,
                    error=None if status == "done" else f"{status} on purpose",
                )
                store.write_cell(record, arrays_out if arrays else None)
    manifest = Manifest(
        name=folder.name,
        sweep={"name": folder.name, "seeds": list(range(n_seeds))},
        image_encoders=[EncoderRecord(id=i, modality="image", dim=dims[0], encode_flops=1e6) for i in image_ids],
        text_encoders=[EncoderRecord(id=t, modality="text", dim=dims[1], encode_flops=2e6) for t in text_ids],
        pairs=pairs,
        methods={
            label: PlannedMethod(method=label, kind=spec.kind, version=1, config={}, budget={"epochs": 10})
            for label, spec in methods.items()
        },
        reference=reference,
        seeds=list(range(n_seeds)),
        tasks=[TaskRecord(label=task, kind="retrieval", metrics=dict(METRICS))],
        selection=SelectionRecord(task=task, metric=metric, higher_is_better=METRICS[metric].higher_is_better),
        connector=connector or {"kind": "linear", "direction": "text_to_image", "loss": "info_nce"},
        rows={"train": train, "validation": 100, "test": queries, "captions": 2 * queries, "skipped": 0},
        cells=cells,
    )
    store.write_manifest(manifest)
    return store


def realistic(images: int, texts: int, seeds: int, *, seed: int = 0, noise: float = 0.02) -> dict[str, Spec]:
    """ape and hyma on additive pair qualities with noise, with curves: what a finished sweep looks like."""
    rng = np.random.default_rng(seed)
    quality = 0.45 + 0.15 * rng.standard_normal((images, 1)) / 1.5 + 0.06 * rng.standard_normal((1, texts))
    quality = np.clip(quality + 0.01 * rng.standard_normal((images, texts)), 0.05, 0.95).ravel()

    def draw(scale: float, shift: float = 0.0) -> np.ndarray:
        return np.clip(quality + shift + scale * rng.standard_normal((seeds, images * texts)), 0.01, 0.99)

    def curve(final: np.ndarray) -> dict[float, np.ndarray]:
        return {share: final * (1 - 0.6 * np.exp(-4 * share)) for share in (0.1, 0.2, 0.5, 1.0)}

    ape, hyma = draw(noise), draw(2 * noise, -0.02)
    return {
        "ape": Spec(ape, draw(noise), checkpoints=curve(ape), flops=2e10, updates=100, eval_share=0.05),
        "hyma": Spec(
            hyma,
            draw(2 * noise, -0.02),
            kind="joint",
            pairs_per_step=4,
            updates=40,
            flops=2e10 * images * texts / 6,
            wall_s=10.0 * images * texts / 4,
            checkpoints=curve(hyma),
        ),
        "cka": Spec(
            draw(3 * noise), None, kind="score", batch_size=None, pairs_per_step=None, updates=0, flops=1e9, wall_s=1
        ),
    }


class Maker:
    """What tests need of this file, as a fixture (test folders are not packages)."""

    Spec = Spec
    run = staticmethod(make_run)
    realistic = staticmethod(realistic)


@pytest.fixture
def maker() -> type[Maker]:
    return Maker


def _finished(folder: Path) -> RunStore:
    return make_run(folder / "finished", realistic(4, 3, 3), images=4, texts=3)


@pytest.fixture
def finished(tmp_path: Path) -> RunStore:
    """Twelve pairs, three seeds, three methods, nothing missing."""
    return _finished(tmp_path)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of such a run, made once."""
    return build_report(_finished(tmp_path_factory.mktemp("reported")))
