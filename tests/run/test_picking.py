"""Picking a pair in stages: which one, on how many rows, at what cost, and that a broken-off pick goes on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.contract.pairs import Pair
from harness.errors import HarnessError
from harness.run.execute import prepare, run_missing
from harness.run.picked import PickRecord, StageRecord
from harness.run.picking import Limits, Ran, StageFailed, not_separated, pick
from harness.run.stages import Stage, remaining, stage_sweep
from harness.run.store import RunStore
from harness.sweep.config import PickConfig, Sweep
from harness.sweep.loading import load_sweep
from harness.sweep.plan import Plan, make_plan
from harness.sweep.resolve import ResolvedSweep
from tests.conftest import Project
from tests.watching import Watcher

WORLD = """
    name: world
    data:
      {kind: synthetic, rows: 900, image_encoders: 3, text_encoders: 2, image_dims: [12, 20, 12], text_dims: [8, 16],
       latent: 8, image_qualities: [0.3, 0.95, 0.3], text_qualities: [0.3, 0.95], seed: 0}
    image_encoders:
      - {id: image00, flops_per_sample: 1.0e+9}
      - {id: image01, flops_per_sample: 2.0e+9}
      - {id: image02, flops_per_sample: 4.0e+9}
    text_encoders:
      - {id: text00, flops_per_sample: 1.0e+8}
      - {id: text01, flops_per_sample: 2.0e+8}
    methods:
      ape: {epochs: 3, batch_size: 64, lr: 1.0e-2}
    storage: runs
    pick: {first: 100, growth: 2, at_most_gap: 0.0, settings: {updates: 4, rounds: 1}}
"""
CLEAR = ("image01", "text01")


@pytest.fixture
def clear(temp_project: Project) -> Project:
    """A project with ``world.yaml``, one pair of which is far ahead of all others."""
    temp_project.write("world.yaml", WORLD)
    return temp_project


class Runner:
    """Runs stages as the command does, and keeps what it ran.

    Args:
        seconds: What a stage is said to have taken: by the stage.
        backend: What runs cells.
        stop_before: Number of the stage at whose beginning the pick is broken off.
    """

    def __init__(
        self, seconds: Callable[[Stage], float] = lambda stage: 1.0, backend: str = "serial", stop_before: int = 0
    ) -> None:
        self._seconds, self._backend, self._stop_before = seconds, backend, stop_before
        self.ran: list[int] = []
        self.asked: list[Stage] = []

    def __call__(self, stage: Stage, plan: Plan) -> Ran:
        if stage.number == self._stop_before:
            raise KeyboardInterrupt
        self.asked.append(stage)
        store = store_of(plan.sweep)
        todo = prepare(plan, store, lambda resolved: resolved.extraction.missing(list(resolved.banks.values())))
        if todo.cells:
            self.ran.append(stage.number)
            run_missing(plan, store, todo, Watcher(), backend=self._backend)
        return Ran(store.record(plan.cells[0].key), self._seconds(stage))


def work(stage: Stage) -> float:
    """A second for each row and encoder."""
    return float(stage.work)


def store_of(sweep: Sweep) -> RunStore:
    return RunStore(str(sweep.storage_path / sweep.name))


def sweep_of(project: Project, *overrides: str) -> Sweep:
    return load_sweep(project.folder / "world.yaml", overrides=overrides)


def told(record: PickRecord) -> dict[str, object]:
    """The record without the seconds that its stages took."""
    return record.model_copy(
        update={"stages": [stage.model_copy(update={"seconds": 0.0}) for stage in record.stages]}
    ).model_dump()


def test_the_pair_that_is_far_ahead_is_picked(clear) -> None:
    runner = Runner()
    record = pick(sweep_of(clear), runner)
    assert record.pair == CLEAR
    assert record.not_separated == [CLEAR]
    assert record.candidates == 6
    assert [stage.train for stage in runner.asked[:3]] == [100, 200, 400]
    assert (runner.asked[0].images, runner.asked[0].texts) == (("image00", "image01", "image02"), ("text00", "text01"))
    assert all((stage.images, stage.texts) == (("image01",), ("text01",)) for stage in runner.asked[1:])
    assert [stage.last for stage in runner.asked] == [False] * (len(runner.asked) - 1) + [True]


def test_only_the_last_stage_polishes_and_sees_test_data(clear) -> None:
    runner = Runner()
    record = pick(sweep_of(clear), runner)
    cells = []
    for stage, done in zip(runner.asked, record.stages, strict=True):
        store = RunStore(str(clear.folder / "runs" / done.run))
        (cell,) = store.manifest().cells
        cells.append(store.record(cell.key))
        assert store.manifest().rows["test"] == (180 if stage.last else 0)
    assert [cell.updates_per_pair > 0 for cell in cells] == [stage.last for stage in runner.asked]


def test_the_record_says_what_the_rows_cost_counted_by_hand(clear) -> None:
    """900 images: 630 for training, 90 for validation, 180 for testing; one caption each; FLOPs are in the file."""
    record = pick(sweep_of(clear, "pick.growth=4", "pick.most=400"), Runner())
    first, second, last = record.stages
    assert (first.train_images, second.train_images, last.train_images) == (100, 400, 400)
    assert {stage.validation_images for stage in record.stages} == {90}
    assert first.encode_flops == pytest.approx(190 * (1e9 + 2e9 + 4e9 + 1e8 + 2e8))
    assert second.encode_flops == pytest.approx(300 * (2e9 + 2e8))
    assert last.encode_flops == pytest.approx(180 * (2e9 + 2e8))
    assert record.cost.encode == pytest.approx(sum(stage.encode_flops for stage in record.stages))
    assert record.cost.connectors == pytest.approx(sum(stage.flops for stage in record.stages))
    assert record.grid is not None
    assert record.grid.encode == pytest.approx(900 * (1e9 + 2e9 + 4e9 + 1e8 + 2e8))
    assert record.saving == pytest.approx(record.grid.total / record.cost.total)
    assert record.unknown == ()


def test_flops_of_encoders_that_are_not_known_are_named_and_the_saving_end_to_end_is_left_open(clear) -> None:
    record = pick(sweep_of(clear, "text_encoders=[text00, text01]"), Runner())
    assert record.unknown == ("text00", "text01")
    assert record.saving is None
    assert record.connector_saving is not None


@pytest.mark.parametrize("stop_before", [2, 3, 4])
def test_a_pick_that_is_broken_off_goes_on_and_comes_to_the_same(clear, tmp_path: Path, stop_before: int) -> None:
    broken = Runner(stop_before=stop_before)
    with pytest.raises(KeyboardInterrupt):
        pick(sweep_of(clear), broken)
    again = Runner()
    record = pick(sweep_of(clear), again)
    assert broken.ran == list(range(1, stop_before))
    assert again.ran == list(range(stop_before, len(record.stages) + 1)), "what had finished is not run again"
    undisturbed = pick(sweep_of(clear, f"storage={tmp_path / 'other'}"), Runner())
    assert told(record) == told(undisturbed)


def test_the_same_seed_gives_the_same_pick_and_nothing_runs_twice(clear) -> None:
    first, second = Runner(), Runner()
    assert told(pick(sweep_of(clear), first)) == told(pick(sweep_of(clear), second))
    assert second.ran == []


def test_other_settings_under_the_same_name_have_stages_of_their_own(clear) -> None:
    one = pick(sweep_of(clear), Runner())
    runner = Runner()
    other = pick(sweep_of(clear, "pick.first=80"), runner)
    assert runner.ran[:3] == [1, 2, 3]
    assert [stage.train_images for stage in other.stages[:2]] == [80, 160]
    runs = [{stage.run for stage in record.stages if stage.train_images < 630} for record in (one, other)]
    assert not runs[0] & runs[1]
    assert told(pick(sweep_of(clear), Runner())) == told(one)


def test_growth_ends_where_it_gains_less_than_the_indifference(clear) -> None:
    """Stages have the same 90 validation images, so the second one is compared with the first."""
    record = pick(sweep_of(clear, "pick.at_most_gap=1.0"), Runner())
    assert [stage.train_images for stage in record.stages] == [100, 200, 200]


def test_the_last_growth_ends_at_all_rows_or_at_the_most_that_is_allowed(clear) -> None:
    grown = pick(sweep_of(clear, "pick.growth=7", "pick.first=99"), Runner())
    assert [stage.train_images for stage in grown.stages] == [99, 630, 630]
    bounded = pick(sweep_of(clear, "pick.growth=3", "pick.most=250"), Runner())
    assert [stage.train_images for stage in bounded.stages] == [100, 250, 250]


def test_flops_end_the_growth(clear) -> None:
    """The first stage is 1.387 TFLOP of embedding; 200 rows more of one pair, with the test rows, 0.84."""
    train = "pick.growth=3"
    whole = pick(sweep_of(clear, train), Runner())
    assert len(whole.stages) > 2
    nothing = pick(sweep_of(clear, train), Runner(), Limits(flops=1.0))
    assert [stage.train_images for stage in nothing.stages] == [100, 100]
    tight = 190 * 7.3e9 + (200 + 180) * 2.2e9
    below, above = (pick(sweep_of(clear, train), Runner(), Limits(flops=tight + more)) for more in (-1e9, 1e9))
    assert [stage.train_images for stage in below.stages] == [100, 100]
    assert [stage.train_images for stage in above.stages] == [100, 300, 300]
    assert above.cost.total <= tight + 1e9


def test_seconds_end_the_growth(clear) -> None:
    """A stage is said to take a second for each row and encoder: the first one 5 x 190, the second one 2 x 290."""
    growth = "pick.growth=2"
    spent = 5 * 190 + 2 * 290 + 2 * 290  # with the last stage on the same rows
    below, above = (
        pick(sweep_of(clear, growth), Runner(work), Limits(seconds=limit)) for limit in (spent - 1, spent + 1)
    )
    assert [stage.train_images for stage in below.stages] == [100, 100]
    assert [stage.train_images for stage in above.stages] == [100, 200, 200]


def test_seconds_that_an_earlier_command_spent_count(clear) -> None:
    """Both commands come to the same pick, though the second one finds the first stages done."""
    limits = Limits(seconds=5 * 190 + 4 * 290 + 1)
    assert told(pick(sweep_of(clear), Runner(work), limits)) == told(pick(sweep_of(clear), Runner(work), limits))


def test_encoders_that_cannot_meet_the_constraints_are_not_even_embedded(clear) -> None:
    constraints = "selection={task: retrieval, metric: text_to_image_r5, constraints: {image_dim: 12}}"
    runner = Runner()
    record = pick(sweep_of(clear, constraints), runner)
    assert runner.asked[0].images == ("image00", "image02")
    assert record.pair[0] != "image01"
    assert record.candidates == 4


def test_a_pair_that_is_too_slow_is_left_to_the_others(clear) -> None:
    """Only the pair together is too slow. The others lost to it, and not to each other: all stay in the race."""
    limit = "selection={task: retrieval, metric: text_to_image_r5, constraints: {max_encode_flops: 2.15e+9}}"
    runner = Runner()
    record = pick(sweep_of(clear, limit, "pick.keep=1.0", "pick.most=100"), runner)
    assert (runner.asked[0].images, runner.asked[0].texts) == (("image00", "image01"), ("text00", "text01"))
    assert set(record.stages[0].racing) == {("image00", "text00"), ("image00", "text01"), ("image01", "text00")}
    assert record.pair != CLEAR


def test_constraints_that_no_pair_meets_stop_it_at_once(clear) -> None:
    limit = "selection={task: retrieval, metric: text_to_image_r5, constraints: {max_encode_flops: 1.0}}"
    runner = Runner()
    with pytest.raises(HarnessError, match="none of the 6 pairs can meet the constraints|no pair is known"):
        pick(sweep_of(clear, limit), runner)
    assert runner.asked == []


def test_a_metric_of_which_less_is_better(clear) -> None:
    record = pick(sweep_of(clear, "selection={task: retrieval, metric: median_rank}"), Runner())
    assert record.pair == CLEAR
    assert record.validation == min(
        metrics.score
        for metrics in RunStore(str(clear.folder / "runs" / record.run))
        .record(RunStore(str(clear.folder / "runs" / record.run)).manifest().cells[0].key)
        .metrics
    )
    assert len(record.not_separated) > 1, "a median has no intervals here, so nothing separates pairs"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("pick.method=wimner", "pick.method: unknown method 'wimner' (did you mean 'winner'?)"),
        ("pick.method=ape", "'ape' cannot be picked with: it has no field polish, at_most_gap"),
        ("pick.settings.rounds=few", "pick.settings.rounds: "),
        ("pick.settings.batch_size=big", "pick.settings.batch_size: "),
        ("pick.settings.nosuch=1", "pick.settings: unknown key 'nosuch'"),
        ("methods.ape.batch_size=5000", "methods.ape: batch_size 5000 is larger than the 630 training images"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_spent(clear, override: str, told: str) -> None:
    runner = Runner()
    with pytest.raises(HarnessError) as error:
        pick(sweep_of(clear, override), runner)
    assert told in str(error.value)
    assert runner.asked == []


@pytest.mark.parametrize("name", ["polish", "at_most_gap"])
def test_what_stages_set_themselves_cannot_be_set(clear, name: str) -> None:
    with pytest.raises(HarnessError, match=f"{name} is not set here"):
        sweep_of(clear, f"pick.settings.{name}=1")


FAILING = """
    from dataclasses import dataclass
    from baselines.winner import Winner

    @dataclass(frozen=True, kw_only=True)
    class Failing(Winner):
        def fit(self, problem, budget, *, seed, progress):
            raise RuntimeError("no luck")
"""


def test_a_stage_that_fails_says_why(clear) -> None:
    clear.write("failing.py", FAILING)
    with pytest.raises(StageFailed, match="stage 1 failed: .*no luck"):
        pick(sweep_of(clear, 'pick.method="./failing.py:Failing"'), Runner())


@pytest.mark.slow
def test_serial_and_ray_come_to_the_same(clear, tmp_path: Path) -> None:
    settings = ("pick.most=100", "pick.keep=0.6")
    serial = pick(sweep_of(clear, *settings), Runner())
    ray = pick(sweep_of(clear, *settings, f"storage={tmp_path / 'ray'}"), Runner(backend="ray"))
    assert told(serial) == told(ray)


def stage_of(images: str, texts: str, racing: list[Pair]) -> StageRecord:
    sides = {"images": tuple(images), "texts": tuple(texts), "racing": racing}
    numbers = {"train_images": 1, "validation_images": 1, "score": 0.0, "flops": 0.0, "encode_flops": 0.0}
    return StageRecord(run="run", seconds=0.0, **sides, **numbers)  # type: ignore[arg-type]


def test_pairs_that_no_stage_separated_worked_by_hand() -> None:
    """c's pairs left for want of room, a + y by the race of the second stage, and b + y came back in the second."""
    first = stage_of("abc", "xy", [("b", "x"), ("a", "x"), ("a", "y"), ("c", "x")])
    second = stage_of("ab", "xy", [("a", "x"), ("b", "y")])
    assert not_separated([first, second]) == [("a", "x"), ("b", "y"), ("c", "x")]
    assert not_separated([first]) == first.racing


def test_encoders_that_go_on_worked_by_hand() -> None:
    racing = [("b", "x"), ("a", "x"), ("c", "x")]
    stage = Stage(1, tuple("abcdef"), tuple("xyz"), 10, 10)
    assert remaining(racing, stage, PickConfig(keep=1 / 3)) == (("b", "a"), ("x",))
    assert remaining(racing, stage, PickConfig(keep=0.34)) == (("b", "a", "c"), ("x",))
    assert remaining(racing[:1], stage, PickConfig(keep=1)) == (("b",), ("x",))


def test_a_stage_is_named_by_what_it_holds(clear) -> None:
    sweep, stage = sweep_of(clear), Stage(1, ("image00",), ("text00",), 50, 20)
    name = stage_sweep(sweep, stage).name
    assert name.startswith("world-pick-1-")
    assert stage_sweep(sweep_of(clear, "storage=elsewhere", "bank.batch_size=3"), stage).name == name
    others = [replace(stage, train=51), replace(stage, images=("image01",)), replace(stage, last=True)]
    names = {stage_sweep(sweep, other).name.rpartition("-")[2] for other in others}
    names |= {stage_sweep(sweep_of(clear, "pick.settings.updates=5"), stage).name.rpartition("-")[2]}
    assert len(names | {name.rpartition("-")[2]}) == 5


def test_a_batch_is_no_larger_than_the_rows_of_its_stage(clear) -> None:
    stage = Stage(1, ("image00",), ("text00",), 50, 20)
    plan = make_plan(ResolvedSweep(stage_sweep(sweep_of(clear), stage)))
    assert plan.methods["pick"].config.config["batch_size"] == 50
    assert np.array_equal([len(rows) for rows in plan.resolved.index.splits.values()], [50, 20, 0])
