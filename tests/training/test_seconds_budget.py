"""A budget of seconds: where it stops, what the schedule follows, and that it says it is not reproducible.

The clock of these tests is a hand that a test moves, so that nothing here depends on how fast a machine is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from baselines.additive import Additive, Cover, LowRankCompletion
from baselines.ape import Ape
from baselines.shared import SharedConnector
from baselines.stacked import ApeStacked
from harness.contract.method import Method, estimate_of
from harness.errors import HarnessError
from harness.method import Budget, Fit, Split
from harness.sweep.estimates import estimates
from harness.training.schedule import UNREPRODUCIBLE, Horizon
from hyma.add_encoder import AddEncoder
from hyma.encoder_layers import EncoderLayers
from hyma.hyper_align import HyperAlign
from hyma.method import Hyma
from tests.problems import numbered_sizes, problem_of, tables

SWEEP = """
    name: timed
    data: {kind: synthetic, rows: 200, image_encoders: 1, text_encoders: 1, image_dims: [8], text_dims: [6], seed: 0}
    methods:
      ape: {seconds: 2, batch_size: 32, lr: 1.0e-2, warmup: 0.5}
    storage: runs
"""
IMAGES, PER_EPOCH, BATCH = 96, 3, 32


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: float = 0.0

    def tick(self, step: int, steps: int) -> None:
        """Progress of a method whose every step takes a second."""
        del step, steps
        self.now += 1.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that everybody reads."""
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    return clock


def fitted(method: Method, clock: Clock, seconds: float, image_dims: tuple[int, ...] = (8, 8, 6)) -> Fit:
    """A method whose every step takes a second, on a grid of these image encoders and two text encoders."""
    rng, text_dims = np.random.default_rng(0), (7, 5)
    everything = np.arange(IMAGES)
    split = Split(
        image_banks=tables({f"i{n}": rng.standard_normal((IMAGES, dim)) for n, dim in enumerate(image_dims)}),
        text_banks=tables({f"t{n}": rng.standard_normal((IMAGES, dim)) for n, dim in enumerate(text_dims)}),
        image_rows=everything,
        caption_rows=everything,
        caption_image=everything,
    )
    if isinstance(method, Ape):
        image_dims, text_dims = image_dims[:1], text_dims[:1]
    problem = problem_of(numbered_sizes(image_dims, text_dims, train_images=IMAGES), split)
    return method.fit(problem, Budget(seconds=seconds), seed=0, progress=clock.tick)


def test_the_share_of_the_seconds_follows_the_clock(clock: Clock) -> None:
    clock.now = 100.0
    horizon = Horizon(4.0, None)
    assert (horizon.share(1), horizon.elapsed(), horizon.over()) == (0.0, 0.0, False)
    clock.now = 101.0
    assert (horizon.share(5), horizon.elapsed(), horizon.over()) == (0.25, 1.0, False)
    assert horizon.expected(5) == 20, "five steps in a quarter of the time"
    clock.now = 104.0
    assert (horizon.share(20), horizon.over()) == (1.0, True)
    clock.now = 105.0
    assert (horizon.share(21), horizon.elapsed(), horizon.over()) == (1.0, 5.0, True)


def test_the_share_of_known_steps_needs_no_clock(clock: Clock) -> None:
    horizon = Horizon(None, 10)
    clock.now = 1e9
    assert [horizon.share(step) for step in (1, 10)] == [0.05, 0.95]
    assert not horizon.over()


def test_training_ends_with_the_first_step_after_the_seconds_and_warns(clock: Clock) -> None:
    fit = fitted(Ape(batch_size=BATCH), clock, seconds=6.5)
    assert fit.updates_per_pair == 7
    assert fit.samples_per_pair == 7 * BATCH
    # Checkpoints at the ends of passes 1 and 2 of the data, and at the end.
    assert [(point.step, point.seconds) for point in fit.curve] == [(3, 3.0), (6, 6.0), (7, 7.0)]
    assert fit.warnings == (UNREPRODUCIBLE,)


def test_the_learning_rate_follows_the_seconds(clock: Clock) -> None:
    shares: list[float] = []

    class Watched(Ape):
        """Keeps how far the training is each time that a rate is asked for."""

        def rate(self, progress: float, peak: float) -> float:
            shares.append(progress)
            return super().rate(progress, peak)

    fitted(Watched(batch_size=BATCH), clock, seconds=8)
    assert shares == [step / 8 for step in range(8)]


@pytest.mark.parametrize(
    "method",
    [
        Ape(batch_size=BATCH),
        ApeStacked(batch_size=BATCH),
        SharedConnector(batch_size=BATCH),
        EncoderLayers(batch_size=BATCH, space_dim=4),
        Hyma(batch_size=BATCH, hidden=(8, 4)),
        HyperAlign(batch_size=BATCH, hidden=(8, 4)),
        Additive(batch_size=BATCH, trained=4),
        LowRankCompletion(batch_size=BATCH, trained=6),
    ],
    ids=lambda method: type(method).__name__,
)
def test_the_seconds_are_those_of_the_whole_cell_whatever_the_method(clock: Clock, method: Method) -> None:
    """Completions share them out among the pairs that they train: twelve seconds in all, not twelve for each."""
    fit = fitted(method, clock, seconds=12)
    assert clock.now == 12.0
    assert fit.warnings == (UNREPRODUCIBLE,), "once, however many pairs were trained"


@pytest.mark.parametrize(
    "method", [Additive(batch_size=BATCH, trained=4), LowRankCompletion(batch_size=BATCH, trained=6)]
)
def test_a_completion_gives_every_pair_that_it_trains_as_many_seconds(clock: Clock, method: Cover) -> None:
    fit = fitted(method, clock, seconds=12)
    assert fit.connectors is not None
    assert len(fit.connectors) == method.trained
    assert fit.ledger.updates == 12
    assert fit.updates_per_pair == pytest.approx(12 / 6), "of all six pairs, trained or not"


def test_a_new_encoder_is_added_after_the_seconds_of_the_joint_run(clock: Clock) -> None:
    method = AddEncoder(held_out="i2", batch_size=BATCH, hidden=(8, 4), pairs_per_step=2, condition_updates=5)
    fit = fitted(method, clock, seconds=12)
    assert [point.step for point in fit.curve] == [12, 12 + 5]
    assert fit.warnings[0] == UNREPRODUCIBLE


def test_the_report_repeats_the_warning(temp_project: Any, without_plots: None) -> None:
    temp_project.write("timed.yaml", SWEEP)
    code, out, _ = temp_project.invoke(
        "sweep", "timed.yaml", "--set", "methods.ape.seconds=0.05", "--backend", "serial"
    )
    assert code == 0, out
    plan = temp_project.plan("timed.yaml", "methods.ape.seconds=0.05")
    (record,) = (temp_project.store(plan).record(cell.key) for cell in plan.cells)
    assert record.status == "done", record.error
    assert UNREPRODUCIBLE in record.warnings
    report = temp_project.folder / "runs" / "timed" / "report" / "report.md"
    assert UNREPRODUCIBLE in report.read_text(encoding="utf-8")


def test_its_flops_cannot_be_foreseen_but_its_mistakes_can(temp_project: Any) -> None:
    temp_project.write("timed.yaml", SWEEP)
    plan = temp_project.plan("timed.yaml")
    assert estimates(plan)["ape"].flops is None
    sizes = plan.resolved.sizes(plan.resolved.pairs)
    with pytest.raises(HarnessError, match="batch_size 1000 is larger than the 140 training images"):
        estimate_of(Ape(batch_size=1000), sizes, Budget(seconds=1))


@pytest.mark.parametrize("limits", [{}, {"seconds": 0}, {"seconds": 1, "epochs": 1}])
def test_budget_needs_exactly_one_positive_limit(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="exactly one of epochs, updates_per_pair, flops, seconds|must be positive"):
        Budget(**limits)
