"""A breakdown is reported at its own step, however rarely the device's norms are read."""

from typing import Any

import numpy as np
import pytest
import torch

from baselines.shared import SharedConnector
from harness.contract.fit import Fit
from harness.method import Budget
from harness.training.divergence import STEPS_PER_READING, Norms, steps_per_reading
from hyma.method import Hyma
from tests.problems import Table, connectors_of, matched, views

pytestmark = pytest.mark.usefixtures("one_thread")


def test_norms_are_read_together_and_in_order() -> None:
    norms = Norms()
    for step in (3, 4, 5):
        norms.keep(step, 2, torch.tensor([float(step), torch.nan]))
    assert [(step, pairs, row[0].item()) for step, pairs, row in norms.read()] == [
        (3, 2, 3.0),
        (4, 2, 4.0),
        (5, 2, 5.0),
    ]
    assert list(norms.read()) == []


def test_the_cpu_is_read_each_step_and_a_gpu_once_per_some() -> None:
    assert steps_per_reading(torch.device("cpu")) == 1
    assert steps_per_reading(torch.device("cuda")) == STEPS_PER_READING > 1


def fit_with_a_bad_row(method: Hyma | SharedConnector) -> Fit:
    made = matched(views(200, {"a": 10, "b": 10}), views(200, {"x": 8, "y": 8}, seed=1))
    bank = made.problem.train.text_banks["y"]
    assert isinstance(bank, Table)
    bank.rows[7] = np.nan
    return made.fit(method, budget=Budget(epochs=6))


def facts(fit: Fit) -> tuple[Any, ...]:
    assert fit.diverged is not None
    counts = (fit.diverged.step, fit.ledger.updates, fit.ledger.samples, fit.updates_per_pair)
    return (*counts, fit.diverged.reason, fit.scores, [point.step for point in fit.curve])


@pytest.mark.parametrize("method", [Hyma(batch_size=16, pairs_per_step=2), SharedConnector(batch_size=16)])
@pytest.mark.parametrize("read_every", [4, 1000])
def test_a_joint_training_ends_alike_however_rarely_it_is_read(
    monkeypatch: pytest.MonkeyPatch, method: Hyma | SharedConnector, read_every: int
) -> None:
    """The same step, scores, connectors and updates; what was computed in vain is booked."""
    at_once = fit_with_a_bad_row(method)
    monkeypatch.setattr("harness.training.divergence.steps_per_reading", lambda device: read_every)
    late = fit_with_a_bad_row(method)
    assert facts(late) == facts(at_once)
    assert late.ledger.total >= at_once.ledger.total
    assert (late.connectors is None) == (at_once.connectors is None)
    for pair, connector in (connectors_of(at_once) if at_once.connectors else {}).items():
        for name, tensor in connector.tensors.items():
            assert torch.equal(connectors_of(late)[pair].tensors[name], tensor)
