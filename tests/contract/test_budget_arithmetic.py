"""Budgets by arithmetic: whatever the unit, the steps are those that a hand would count."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from baselines.halving import ApeHalving
from harness.contract.budget import Budget
from harness.errors import HarnessError
from harness.training.schedule import checkpoint_steps, is_checkpoint

UNITS = ("epochs", "updates_per_pair", "flops", "seconds")
LIMITS = st.floats(1e-3, 1e6)


@given(LIMITS, st.integers(1, 500), st.integers(1, 30), st.integers(1, 30), st.floats(1, 1e9))
def test_steps_of_every_unit_are_those_counted_by_hand(
    limit: float, per_epoch: int, pairs: int, per_step: int, flops: float
) -> None:
    per_step = min(per_step, pairs)
    given_ = {"steps_per_epoch": per_epoch, "updates_per_step": per_step / pairs, "flops_per_step": flops}
    epochs = Budget(epochs=limit).steps(**given_)
    assert epochs >= 1
    assert abs(epochs - max(1, limit * per_epoch)) <= 0.5
    updates = Budget(updates_per_pair=limit).steps(**given_)
    assert updates >= 1
    assert (
        abs(updates * per_step / pairs - limit) <= max(0.5 * per_step / pairs, per_step / pairs - limit) + 1e-6 * limit
    )
    spent = Budget(flops=limit * flops).steps(**given_) * flops
    assert spent <= max(flops, limit * flops * (1 + 1e-12)), "never over the budget, but for the first step"
    assert spent + flops > limit * flops * (1 - 1e-12), "and one more step would be"
    with pytest.raises(ValueError, match="not known beforehand"):
        Budget(seconds=limit).steps(**given_)


@given(st.sampled_from(UNITS), LIMITS, st.floats(1e-3, 1e3), st.integers(1, 50))
def test_scaling_and_sharing_keep_the_unit(unit: str, limit: float, factor: float, pairs: int) -> None:
    budget = Budget(**{unit: limit})
    assert budget.limit == limit
    scaled = budget.scaled(factor)
    assert getattr(scaled, unit) == scaled.limit == limit * factor
    shared = budget.shared_by(pairs)
    assert shared.limit == pytest.approx(limit / pairs if unit in ("flops", "seconds") else limit)


@given(
    eta=st.sampled_from([1.5, 2.0, 3.0, 4.0]),
    pairs=st.integers(1, 300),
    warmup=st.sampled_from([0.0, 0.05, 0.1, 0.3]),
    limit=st.floats(1, 1e4),
    unit=st.sampled_from(UNITS[:3]),
)
def test_rungs_rise_by_eta_to_the_whole_budget_and_end_with_one_pair_at_the_latest(
    eta: float, pairs: int, warmup: float, limit: float, unit: str
) -> None:
    rungs = ApeHalving(eta=eta, warmup=warmup).rungs(pairs, Budget(**{unit: limit}))
    limits = [rung.limit for rung in rungs]
    assert limits[-1] == pytest.approx(limit)
    for low, high in zip(limits, limits[1:], strict=False):
        assert high / low == pytest.approx(eta)
    kept = pairs
    for _ in rungs[1:]:
        assert kept > 1, "a rung for one pair would decide nothing"
        kept = max(1, math.floor(kept / eta + 1e-9))
    assert limits[0] >= 2 * warmup * limit * (1 - 1e-9) or len(rungs) == 1


@given(st.integers(1, 60), st.sampled_from([1.5, 2.0, 3.0]), st.data())
def test_the_best_share_goes_on_and_who_has_no_score_never_does(pairs: int, eta: float, data: st.DataObject) -> None:
    names = [(f"i{n:02}", "t") for n in range(pairs)]
    numbers = st.integers(0, 5).map(float) | st.just(math.nan)
    scores = dict(zip(names, data.draw(st.lists(numbers, min_size=pairs, max_size=pairs)), strict=True))
    higher = data.draw(st.booleans())
    kept = ApeHalving(eta=eta).keep(0, scores, higher_is_better=higher)
    known = {pair: score for pair, score in scores.items() if math.isfinite(score)}
    assert len(kept) == min(len(known), max(1, math.floor(pairs / eta + 1e-9)))
    assert set(kept) <= set(known)
    sign = 1 if higher else -1
    out = [sign * score for pair, score in known.items() if pair not in kept]
    assert not out or not kept or max(out) <= min(sign * known[pair] for pair in kept)
    assert kept == ApeHalving(eta=eta).keep(0, dict(reversed(scores.items())), higher_is_better=higher)


@pytest.mark.parametrize("least", [0.5, 8.0, 8.1])
def test_a_first_rung_may_be_the_whole_budget_and_not_more(least: float) -> None:
    method = ApeHalving(eta=2, min_budget=least)
    if least > 8:
        with pytest.raises(HarnessError, match=r"min_budget 8\.1 is larger than the budget 8"):
            method.rungs(16, Budget(epochs=8))
        return
    limits = [rung.epochs for rung in method.rungs(16, Budget(epochs=8))]
    assert limits == pytest.approx([8.0] if least == 8 else [0.5, 1, 2, 4, 8])


@given(st.integers(1, 5000), st.floats(0.2, 300))
def test_checkpoints_of_a_known_end_are_those_that_are_met_on_the_way(steps: int, per_pass: float) -> None:
    assume(per_pass > 0)
    found = checkpoint_steps(steps, per_pass)
    assert found[-1] == steps
    assert found == sorted(set(found))
    met = [step for step in range(1, steps) if is_checkpoint(step, per_pass)]
    assert set(met) <= set(found)
    if per_pass >= 1:
        assert [*met, steps] == found, "where passes are steps or more, both say the same"
