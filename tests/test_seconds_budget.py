"""A budget of seconds: where it stops, what the schedule follows, and that it says it is not reproducible."""

import itertools
from typing import Any

import pytest
from harness.plan import estimates

import harness.training
from baselines.ape import Ape
from harness.method import Budget, estimate_of
from harness.training import UNREPRODUCIBLE, Horizon

SWEEP = """
    name: timed
    data: {kind: synthetic, rows: 200, image_encoders: 1, text_encoders: 1, image_dims: [8], text_dims: [6], seed: 0}
    methods:
      ape: {seconds: 2, batch_size: 32, lr: 1.0e-2, warmup: 0.5}
    storage: runs
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that goes on by a tenth of a second whenever the training looks at it."""
    ticks = itertools.count()
    monkeypatch.setattr(harness.training.time, "perf_counter", lambda: next(ticks) / 10)


def test_share_of_the_seconds(clock: Any) -> None:
    horizon = Horizon(1.0, None)  # looked at 0.0
    assert horizon.share(1) == pytest.approx(0.1)
    assert not horizon.over()  # 0.2
    assert horizon.expected(3) == round(3 / 0.3)
    for _ in range(6):
        horizon.share(1)
    assert horizon.over()  # 1.0
    assert horizon.share(1) == 1.0


def test_share_of_known_steps_needs_no_clock() -> None:
    horizon = Horizon(None, 10)
    assert [horizon.share(step) for step in (1, 10)] == [0.05, 0.95]
    assert not horizon.over()


def test_it_stops_on_time_and_warns(temp_project: Any) -> None:
    temp_project.write("timed.yaml", SWEEP)
    plan = temp_project.run("timed.yaml", "methods.ape.seconds=0.3")
    (cell,) = plan.cells
    record = plan.store.record(cell.key)
    assert record.status == "done"
    assert record.warnings == [UNREPRODUCIBLE]
    last = record.curve[-1]
    assert last.seconds >= 0.3
    assert all(point.seconds < 0.3 for point in record.curve[:-1]), "nothing but the end lies beyond the budget"
    assert last.updates_per_pair == record.updates_per_pair == last.step
    code, out, _ = temp_project.invoke("sweep", "timed.yaml", "--set", "methods.ape.seconds=0.3", "--backend", "serial")
    assert code == 0, out
    report = plan.store.path / "report" / "report.md"
    assert UNREPRODUCIBLE in report.read_text(encoding="utf-8")


def test_its_flops_cannot_be_foreseen_but_its_mistakes_can(temp_project: Any) -> None:
    temp_project.write("timed.yaml", SWEEP)
    plan = temp_project.plan("timed.yaml")
    assert estimates(plan)["ape"].flops is None
    with pytest.raises(Exception, match="batch_size 1000 is larger than the 140 training images"):
        estimate_of(Ape(batch_size=1000), plan.workspace.sizes(plan.workspace.pairs), Budget(seconds=1))  # type: ignore[arg-type]


@pytest.mark.parametrize("limits", [{}, {"seconds": 0}, {"seconds": 1, "epochs": 1}])
def test_budget_needs_exactly_one_positive_limit(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="exactly one of epochs, updates_per_pair, flops, seconds|must be positive"):
        Budget(**limits)
