"""Non-inferiority: the rates at which equal and worse methods pass, and what pairs the two sides."""

from dataclasses import replace

import numpy as np
import pytest

from harness.run.records import PlannedMethod
from reports.inferiority import MARGIN, NonInferiority, cheapest_passing, non_inferior, on_validation
from reports.rundata import MethodData
from reports.scores import ReferenceScores
from tests.worlds import scored

PAIRS, SEEDS, NOISE = 20, 3, 0.01
QUALITY = 0.5 + 0.1 * np.random.default_rng(5).standard_normal(PAIRS)
DIRECTION = np.random.default_rng(6).standard_normal(PAIRS)


def method(validation: np.ndarray, label: str = "method") -> MethodData:
    """What is ranked; nothing else of a method is asked for."""
    planned = PlannedMethod(method=label, kind="joint", version=1, config={}, budget={})
    ran = np.ones(validation.shape, dtype=bool)
    return MethodData(label, planned, [], {}, validation, validation, ran, True, True)


def world(rng: np.random.Generator, bias: float) -> tuple[ReferenceScores, MethodData, MethodData]:
    """The reference's test scores, the reference, and a method whose qualities are others by ``bias``."""
    noise = NOISE * rng.standard_normal((2, SEEDS, PAIRS))
    truth = scored(QUALITY, rng, moved=noise[0])
    return truth, method(QUALITY + noise[0], "ape"), method(QUALITY + bias * DIRECTION + noise[1])


def stated(bias: float, worlds: int) -> list[NonInferiority]:
    rng = np.random.default_rng(int(1000 * bias))
    found = [non_inferior(*world(rng, bias), seed=number) for number in range(worlds)]
    return [statement for statement in found if statement is not None]


def test_equal_methods_pass_and_noticeably_worse_ones_do_not() -> None:
    assert np.mean([bool(statement.passed) for statement in stated(0.0, 60)]) >= 0.8
    worse = stated(0.04, 60)
    assert np.mean([statement.difference for statement in worse]) < -MARGIN
    # At the margin itself 2.5 % may pass; here it lies beyond.
    assert np.mean([bool(statement.passed) for statement in worse]) <= 0.07


@pytest.mark.parametrize("bias", [0.0, 0.03])
def test_the_interval_covers_the_expected_difference(bias: float) -> None:
    found = stated(bias, 100)
    expected = np.mean([statement.difference for statement in found])
    assert np.mean([low <= expected <= high for low, high in (s.ci95 for s in found)]) >= 0.88
    assert np.mean([high - low for low, high in (s.ci95 for s in found)]) < 0.12


def test_the_references_own_connectors_rank_as_the_reference_does() -> None:
    """No seed meets itself, so that a method that reuses connectors gains nothing by it."""
    truth, reference, _ = world(np.random.default_rng(1), 0.0)
    again = non_inferior(truth, reference, replace(reference, label="stacked"))
    assert again == NonInferiority(0.0, (0.0, 0.0), MARGIN, True)


def test_one_seed_allows_no_statement_and_no_queries_no_interval() -> None:
    truth, reference, other = world(np.random.default_rng(2), 0.0)
    bare = non_inferior(ReferenceScores(truth.scores, truth.ran, True), reference, other)
    assert bare is not None
    assert bare.passed is None and np.isnan(bare.ci95).all()
    whole = non_inferior(truth, reference, other)
    assert whole is not None and whole.difference == pytest.approx(bare.difference)
    one = ReferenceScores(truth.scores[:1], truth.ran[:1], True)
    first = [replace(m, scores=m.scores[:1], test=m.test[:1], ran=m.ran[:1]) for m in (reference, other)]
    assert non_inferior(one, *first) is None


def test_the_cheapest_is_picked_on_validation() -> None:
    _, reference, equal = world(np.random.default_rng(3), 0.0)
    random = method(np.random.default_rng(4).random((SEEDS, PAIRS)), "random")
    methods = {"ape": reference, "equal": replace(equal, label="equal"), "dear": equal, "random": random}
    found = on_validation(reference, random)
    assert found is not None and found.passed is False
    assert cheapest_passing(reference, methods, {"ape": 10.0, "dear": 12.0, "equal": 3.0, "random": 0.0}) == "equal"
    assert cheapest_passing(reference, methods, {"ape": 10.0, "dear": 12.0, "random": 0.0}) is None
