"""Other tasks and metrics: the pick under each, and how alike it orders the pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.run.records import TaskRecord
from harness.run.store import RunStore
from harness.tasks.zero_shot import ZeroShot
from reports.agreement_tables import metric_table
from reports.analysis import analyse
from reports.evidence import evidence
from reports.secondary import metric_views

RETRIEVAL = np.array([[0.2, 0.3, 0.4, 0.5, 0.6, 0.7]] * 2)
TOP1 = np.array([0.9, 0.7, 0.8, 0.3, 0.2, 0.1])


def two_tasks(maker: Any, folder: Path) -> RunStore:
    """A grid whose connectors are also measured by zero-shot classification, which orders the pairs the other way."""
    store = maker.run(folder / "run", {"ape": maker.Spec(RETRIEVAL, RETRIEVAL)}, images=3, texts=2)
    manifest = store.manifest()
    zero_shot = TaskRecord(label="zero_shot", kind="zero_shot", metrics=dict(ZeroShot.metrics), chance={"top1": 0.1})
    store.write_manifest(manifest.model_copy(update={"tasks": [*manifest.tasks, zero_shot]}))
    for number, cell in enumerate(manifest.cells):
        record = store.record(cell.key)
        top1 = {"zero_shot": {"top1": float(TOP1[number % 6]), "top5": 1.0}}
        (own,) = record.metrics
        entry = own.model_copy(
            update={
                "test": own.test | top1,
                "validation": {"retrieval": {"text_to_image_r5": own.score}, "zero_shot": {"top1": TOP1[number % 6]}},
            }
        )
        store.write_cell(record.model_copy(update={"metrics": [entry]}), store.queries(cell.key))
    return store


def test_each_metric_has_its_pick_and_its_agreement(maker: Any, tmp_path: Path) -> None:
    analysis = analyse(two_tasks(maker, tmp_path))
    views = {(view.task, view.metric): view for view in metric_views(analysis)}
    assert next(iter(views)) == ("retrieval", "text_to_image_r5"), "the selection stands first"
    top1 = views["zero_shot", "top1"]
    assert top1.pick == analysis.manifest.pairs[0]
    assert top1.value == pytest.approx(0.9)
    assert top1.selected == pytest.approx(0.1), "what the retrieval pick is worth there"
    assert top1.spearman == pytest.approx(stats.spearmanr(RETRIEVAL[0], TOP1)[0])  # type: ignore[arg-type]
    assert top1.chance == pytest.approx(0.1)
    assert views["retrieval", "image_to_text_r5"].spearman == pytest.approx(1)
    assert views["retrieval", "median_rank"].spearman > 0, "lower is better is turned"


def test_the_table_stands_on_the_page_only_where_there_is_more_than_one(maker: Any, tmp_path: Path) -> None:
    analysis = analyse(two_tasks(maker, tmp_path))
    table = metric_table(analysis)
    assert table is not None
    row = next(row for row in table.rows if row[:2] == ["zero_shot", "top1"])
    assert row[2:6] == ["image0 + text0", "0.900", "0.100", "-0.943"]


def test_the_evidence_says_what_the_other_task_would_have_picked(maker: Any, tmp_path: Path) -> None:
    analysis = analyse(two_tasks(maker, tmp_path))
    (part,) = [part for part in evidence(analysis) if part.title == "Other tasks"]
    assert part.sentences == [
        "By zero_shot's top1, ape's connectors would have picked image0 + text0 (0.900, where the picked pair has "
        "0.100); it orders the pairs like text_to_image_r5 with Spearman -0.943."
    ]
    one = analyse(maker.run(tmp_path / "one", {"ape": maker.Spec(RETRIEVAL, RETRIEVAL)}, images=3, texts=2))
    assert not any(part.title == "Other tasks" for part in evidence(one))


def test_a_pick_among_ties_is_said_to_be_one(maker: Any, tmp_path: Path) -> None:
    store = two_tasks(maker, tmp_path)
    for cell in store.manifest().cells:
        record = store.record(cell.key)
        (own,) = record.metrics
        tied = own.validation["zero_shot"] | {"top5": 1.0 if TOP1[0] != own.validation["zero_shot"]["top1"] else 0.5}
        entry = own.model_copy(update={"validation": own.validation | {"zero_shot": tied}})
        store.write_cell(record.model_copy(update={"metrics": [entry]}), store.queries(cell.key))
    table = metric_table(analyse(store))
    assert table is not None
    row = next(row for row in table.rows if row[:2] == ["zero_shot", "top5"])
    assert row[2] == "image0 + text1 (first of 5 that tie)"
