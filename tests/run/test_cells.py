"""Cells that finish: the same numbers every time, wherever they run, and stored as they were measured."""

import numpy as np
import pytest
import torch

from harness.connectors.stored import from_bytes, metadata_of
from harness.contract.metric import values
from harness.run.cell import run_cell
from harness.run.records import CellRecord
from harness.run.reopen import reopen
from harness.run.store import RunStore
from harness.run.threads import exact_threads
from harness.sweep.plan import Plan


def by_key(plan: Plan, store: RunStore) -> dict[str, CellRecord]:
    return {cell.key: store.record(cell.key) for cell in plan.cells}


def test_the_same_seed_gives_the_same_numbers_bit_for_bit(finished, world) -> None:
    """One ran by ``harness sweep`` with two threads before, this one here with four."""
    torch.set_num_threads(4)
    try:
        again = by_key(*world.run())
    finally:
        torch.set_num_threads(2)
    first = by_key(finished.plan(), finished.store(finished.plan()))
    assert len(first) == 14
    for key, record in first.items():
        assert again[key].metrics == record.metrics
        assert [point.scores for point in again[key].curve] == [point.scores for point in record.curve]
        assert again[key].ledger.flops == record.ledger.flops


def test_another_seed_gives_other_numbers(finished) -> None:
    plan = finished.plan()
    records = by_key(plan, finished.store(plan)).values()
    for label in ("ape", "hyma"):
        first, second = ([r.metrics[0].test for r in records if r.label == label and r.seed == seed] for seed in (0, 1))
        assert first != second


def test_a_pair_of_a_grid_trains_as_it_does_alone(finished, world) -> None:
    """Initial weights and batches do not depend on the other pairs."""
    ape = "methods={ape: {epochs: 3, batch_size: 64, lr: 0.01}}"
    alone, store = world.run("world.yaml", "image_encoders=[image02]", "text_encoders=[text01]", ape)
    assert len(alone.cells) == 2
    grid = finished.store(finished.plan())
    for key, record in by_key(alone, store).items():
        assert grid.record(key).metrics == record.metrics


def test_stored_queries_and_connectors_say_what_the_metrics_say(finished) -> None:
    plan = finished.plan()
    store = finished.store(plan)
    declared = plan.resolved.selection_evaluation.metrics
    for key, record in by_key(plan, store).items():
        queries = store.queries(key)
        for number, metrics in enumerate(record.metrics):
            start = f"{number}/retrieval/"
            of_pair = {name.removeprefix(start): row for name, row in queries.items() if name.startswith(start)}
            assert values(declared, of_pair) == metrics.test["retrieval"]
        assert queries["retrieval/image_to_text/unit"].tolist() == list(range(80))
        assert queries["retrieval/text_to_image/unit"].tolist() == plan.resolved.index.paired("test")[2].tolist()
        data = store.connectors(key)
        assert data is not None
        pairs = {name: value for name, value in metadata_of(data).items() if name.startswith("pair.")}
        assert pairs == {f"pair.{n}": f"{image}\t{text}" for n, (image, text) in enumerate(record.pairs)}
        for number, pair in enumerate(record.pairs):
            dims = plan.resolved.sizes(tuple(record.pairs)).dims(pair)
            connector = from_bytes(data, number)
            assert connector.kind == plan.resolved.connector
            assert connector.tensors["layers.0.weight"].shape == (dims.out_dim, dims.in_dim)


def test_the_stored_connector_measures_what_the_record_says(finished) -> None:
    plan = finished.plan()
    store, evaluation = finished.store(plan), plan.resolved.selection_evaluation
    view = plan.resolved.view("test", torch.device("cpu"))
    for record in by_key(plan, store).values():
        data = store.connectors(record.key)
        assert data is not None
        for number, metrics in enumerate(record.metrics):
            pair = (metrics.image, metrics.text)
            wanted = [name for name, metric in evaluation.metrics.items() if not metric.of]
            found = evaluation.measure(view, pair, from_bytes(data, number), wanted)
            assert values(evaluation.metrics, found) == metrics.test["retrieval"]


def test_a_worker_reopens_the_run_from_its_folder_alone(copy_of_world, monkeypatch, tmp_path) -> None:
    """In another working folder, and the run moved to another place (another mount of a cluster)."""
    original = copy_of_world.plan()
    moved = tmp_path / "moved"
    (copy_of_world.folder / "runs").rename(moved)
    monkeypatch.chdir(tmp_path)
    plan, store = reopen(str(moved / "world"), "one stamp")
    assert [cell.key for cell in plan.cells] == [cell.key for cell in original.cells]
    assert store.where == str(moved / "world")
    cell = plan.cells[-1]
    before = store.record(cell.key)
    store.drop_cell(cell.key)
    assert run_cell(plan, store, cell).metrics == before.metrics
    assert store.record(cell.key).metrics == before.metrics


def test_threads_are_exact_inside_and_restored_after() -> None:
    before = torch.get_num_threads()
    for cpus, threads in ((1.0, 1), (0.5, 1), (3.0, 3)):
        with exact_threads(cpus):
            assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == before


def test_zero_shot_beside_retrieval_is_evaluated_for_every_method(world) -> None:
    tasks = ("tasks=[retrieval, zero_shot]", "selection={task: zero_shot, metric: top1}")
    records = by_key(*world.run("world.yaml", *tasks, "seeds=[0]")).values()
    for record in records:
        for metrics in record.metrics:
            assert set(metrics.test) == {"retrieval", "zero_shot"}
            assert metrics.score == metrics.validation["zero_shot"]["top1"]
            assert 0 <= metrics.test["zero_shot"]["top1"] <= metrics.test["zero_shot"]["top5"] <= 1
    best = max(metrics.test["zero_shot"]["top5"] for r in records for metrics in r.metrics)
    assert best > 0.6, "ten classes: chance is 0.5"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_both_splits_are_measured_on_their_own_rows(finished, split: str) -> None:
    """R@1 can only be a multiple of one over the split's captions: 40 and 80, one for each image."""
    plan = finished.plan()
    captions = len(plan.resolved.index.paired(split)[1])
    for record in by_key(plan, finished.store(plan)).values():
        for metrics in record.metrics:
            hits = getattr(metrics, split)["retrieval"]["text_to_image_r1"] * captions
            assert hits == pytest.approx(np.round(hits))
