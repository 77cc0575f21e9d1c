"""One seed is one draw of batches for every method, and a seed's cells do not know which other seeds there are."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract.seeding import generator, stream
from harness.contract.split import Split
from harness.data.splits import SplitConfig, split_rows

GRID = "{epochs: 3, batch_size: 64, lr: 1.0e-2}"


def split_of(images: int) -> Split:
    everything = np.arange(images)
    return Split({}, {}, everything, everything, everything)


@given(seed=st.integers(0, 10**12), images=st.integers(2, 40), batch=st.integers(1, 40))
def test_two_methods_of_one_seed_see_the_same_batches(seed: int, images: int, batch: int) -> None:
    batch = min(batch, images)
    one, other = (itertools.islice(split_of(images).batches(batch, seed), 5) for _ in range(2))
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine.images, theirs.images)
        np.testing.assert_array_equal(mine.captions, theirs.captions)


@given(seed=st.integers(0, 10**6), names=st.lists(st.text(min_size=1, max_size=5), max_size=3))
def test_a_stream_is_the_same_whenever_it_is_asked_for(seed: int, names: list[str]) -> None:
    assert stream(seed, *names).random() == stream(seed, *names).random()
    assert generator(seed, *names).initial_seed() == generator(seed, *names).initial_seed()
    assert stream(seed, *names).random() != stream(seed + 1, *names).random()
    assert stream(seed, *names).random() != stream(seed, *names, "more").random()


@given(
    n=st.integers(20, 200),
    seed=st.integers(0, 99),
    shares=st.sampled_from([(0.7, 0.1, 0.2), (0.5, 0.25, 0.25), (0.34, 0.33, 0.33)]),
)
def test_the_split_belongs_to_the_data_and_not_to_a_methods_seed(
    n: int, seed: int, shares: tuple[float, float, float]
) -> None:
    config = SplitConfig(train=shares[0], validation=shares[1], test=shares[2], seed=seed)
    first, again = split_rows(n, config), split_rows(n, config)
    for name, share in zip(("train", "validation", "test"), shares, strict=True):
        np.testing.assert_array_equal(first[name], again[name])
        assert abs(len(first[name]) - share * n) <= 1, "the share, to the image"
    assert sorted(np.concatenate(list(first.values()))) == list(range(n))


def test_more_seeds_add_cells_and_change_none(world) -> None:
    few, more = world.plan("world.yaml", "seeds=[1]"), world.plan("world.yaml", "seeds=[0, 1, 7]")
    kept = {(cell.label, tuple(cell.pairs)): cell.key for cell in more.cells if cell.seed == 1}
    assert {(cell.label, tuple(cell.pairs)): cell.key for cell in few.cells} == kept
    assert len(more.cells) == 3 * len(few.cells) == 3 * 7
    turned = world.plan("world.yaml", "seeds=[7, 1, 0]")
    assert set(turned.by_key) == set(more.by_key)


def test_a_seed_that_ran_before_is_not_run_again_beside_a_new_one(copy_of_world, without_plots) -> None:
    cells = copy_of_world.folder / "runs" / "world" / "cells"
    before = {path.name: path.read_bytes() for path in cells.iterdir()}
    code, out, err = copy_of_world.invoke("sweep", "world.yaml", "--backend", "serial", "--seeds", "0,1,2")
    assert code == 0, out + err
    assert "cells 21/21 done" in err
    after = {path.name: path.read_bytes() for path in cells.iterdir()}
    assert {name: after[name] for name in before} == before
    summary = json.loads((cells.parent / "report" / "summary.json").read_text())
    assert summary["seeds"] == [0, 1, 2]
    assert len(summary["methods"]["hyma"]["spearman"]["per_seed"]) == 3


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """One grid under two labels, and the stacked form of it, with the same seed."""
    from tests.conftest import SYNTHETIC, Project

    project = Project(tmp_path_factory.mktemp("shared seeds"))
    project.write("world.yaml", SYNTHETIC)
    methods = f"methods={{one: {{method: ape, {GRID[1:]}, two: {{method: ape, {GRID[1:]}, ape_stacked: {GRID}}}"
    return project.run("world.yaml", methods, "reference=one", "seeds=[3]")


def test_equal_settings_under_two_labels_are_one_cell(labels) -> None:
    plan, store = labels
    keys = {label: {cell.key for cell in plan.cells if cell.label == label} for label in ("one", "two")}
    assert keys["one"] == keys["two"]
    assert len(store.finished(plan.by_key)) == 6 + 1


def test_the_stacked_grid_of_a_seed_is_the_grid_of_that_seed(labels) -> None:
    """Same batches and initial weights, so the same connectors but for the order in which sums are taken."""
    plan, store = labels
    (joint,) = (store.record(cell.key) for cell in plan.cells if cell.label == "ape_stacked")
    stacked = {(entry.image, entry.text): entry for entry in joint.metrics}
    for cell in plan.cells:
        if cell.label == "one":
            (alone,) = store.record(cell.key).metrics
            together = stacked[alone.image, alone.text]
            assert together.score == pytest.approx(alone.score, abs=0.051), "at most two of forty queries"
            assert together.test["retrieval"]["text_to_image_r5"] == pytest.approx(
                alone.test["retrieval"]["text_to_image_r5"], abs=0.026
            )
