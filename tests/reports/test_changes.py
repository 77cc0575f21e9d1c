"""What has changed between two runs: paired, held to one bound together, and it holds its level."""

import shutil

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.run.store import RunStore
from reports.changes import changes, verdicts
from reports.summary import read_summary
from tests.conftest import Project
from tests.stored import rewrite


def rerun(world: Project, *sets: str) -> tuple[RunStore, RunStore]:
    """The world under another name and settings, beside the finished one."""
    words = [word for one in ("name=other", *sets) for word in ("--set", one)]
    code, out, err = world.invoke("sweep", "world.yaml", "--backend", "serial", *words)
    assert code == 0, out + err
    runs = world.folder / "runs"
    return RunStore(str(runs / "world")), RunStore(str(runs / "other"))


@pytest.fixture(autouse=True)
def _quick(without_plots) -> None:
    """The plots have tests of their own."""


def test_a_run_that_is_trained_less_is_worse_and_stands_first(copy_of_world) -> None:
    """The world's ``ape`` has three epochs; the other's has sixty."""
    other, base = rerun(copy_of_world, "methods.ape.epochs=60")
    found = changes(base, other)
    assert found[0].method == "ape"
    assert found[0].verdict == "worse"
    assert {one.verdict for one in found if one.method == "hyma"} == {"not separated"}
    for one in found:
        assert one.difference == pytest.approx(one.after - one.before)
        assert one.ci95[0] - 1e-9 <= one.difference <= one.ci95[1] + 1e-9
    turned = changes(other, base)
    assert turned[-1].verdict == "better"
    assert turned[-1].difference == pytest.approx(-found[0].difference)
    mean = next(one for one in found if (one.method, one.quantity) == ("ape", "mean score"))
    where = copy_of_world.folder / "runs"
    for run, value in (("other", mean.before), ("world", mean.after)):
        assert read_summary(where / run / "report" / "summary.json").methods["ape"].mean_score == pytest.approx(value)
    code, out, err = copy_of_world.invoke("compare", "other", "world", "--check")
    assert (code, "worse beyond noise: ape (" in err) == (1, True)
    assert out.index("ape") < out.index("hyma")


def test_an_equal_run_has_changed_in_nothing(copy_of_world) -> None:
    runs = copy_of_world.folder / "runs"
    shutil.copytree(runs / "world", runs / "other")
    rewrite(runs / "other" / "manifest.json", {"name": "other"})
    found = changes(RunStore(str(runs / "world")), RunStore(str(runs / "other")))
    assert {(one.difference, one.ci95, one.verdict) for one in found} == {(0.0, (0.0, 0.0), "not separated")}
    assert copy_of_world.invoke("compare", "world", "other", "--check")[0] == 0


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["data.split={train: 0.6, validation: 0.2, test: 0.2, seed: 0}"], "they are split otherwise"),
        (["data.seed=1"], "synthetic image image00 differs"),
        (["selection.metric=mean_r1"], "the runs select by other metrics"),
    ],
)
def test_runs_of_other_data_are_not_paired(copy_of_world, sets: list[str], told: str) -> None:
    base, other = rerun(copy_of_world, "methods={ape: {epochs: 0.2, batch_size: 64}}", *sets)
    with pytest.raises(HarnessError, match=told):
        changes(base, other)
    code, _, err = copy_of_world.invoke("compare", "world", "other")
    assert (code, told in err) == (0, True)
    assert copy_of_world.invoke("compare", "world", "other", "--check")[0] == 2


def test_equal_methods_are_told_apart_in_no_more_runs_than_the_level_allows() -> None:
    """Eight methods that have not changed, 200 test images, paired and correlated queries: any verdict is a mistake."""
    rng = np.random.default_rng(0)
    trials, images, methods, resamples = 200, 200, 8, 400
    wrong = 0
    for _ in range(trials):
        weights = rng.multinomial(images, np.full(images, 1 / images), size=resamples) / images
        easy = rng.normal(size=(images, 1))
        before, after = (easy + rng.normal(size=(images, methods)) > 0 for _ in range(2))
        gains = weights @ (after.astype(float) - before)
        seeds = [[value, value] for value in (after.mean(0) - before.mean(0))]
        wrong += any(verdict != "not separated" for verdict in verdicts(list(gains.T), seeds))
    assert wrong / trials < 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


def test_a_change_of_ten_points_is_seen() -> None:
    rng = np.random.default_rng(1)
    weights = rng.multinomial(500, np.full(500, 1 / 500), size=400) / 500
    before = rng.random(500) < 0.4
    after = before | (rng.random(500) < 0.2)
    gains = weights @ (after.astype(float) - before)
    assert verdicts([gains, -gains], [[0.1, 0.12], [-0.1, -0.12]]) == ["better", "worse"]
    assert verdicts([gains], [[0.1, -0.01]]) == ["not separated"], "one seed says otherwise"
