"""From a store to results: definitions worked by hand on small runs, whole and partial."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.store import RunStore
from scipy import stats

from harness.errors import HarnessError
from reports.analysis import analyse

# Two seeds, four pairs (2 images x 2 texts): reference test scores with means .50 .40 .30 .20.
APE_TEST = np.array([[0.52, 0.38, 0.30, 0.20], [0.48, 0.42, 0.30, 0.20]])
APE_VAL = np.array([[0.50, 0.40, 0.30, 0.20], [0.35, 0.45, 0.30, 0.20]])
HYMA_VAL = np.array([[0.30, 0.40, 0.20, 0.10], [0.45, 0.30, 0.20, 0.25]])
HYMA_TEST = np.array([[0.40, 0.44, 0.20, 0.10], [0.44, 0.40, 0.20, 0.10]])
MEAN = APE_TEST.mean(axis=0)


def rho(a: Any, b: Any) -> float:
    return float(stats.spearmanr(a, b)[0])  # type: ignore[arg-type]


def tau(a: Any, b: Any) -> float:
    return float(stats.kendalltau(a, b)[0])  # type: ignore[arg-type]


def two_methods(maker: Any, **changes: Any) -> dict[str, Any]:
    ape = {
        "val": APE_VAL,
        "test": APE_TEST,
        "flops": 100.0,
        "eval_share": 0.1,
        "wall_s": 3.0,
        "cpus": 2.0,
        "params": 10,
    }
    hyma = {"val": HYMA_VAL, "test": HYMA_TEST, "kind": "joint", "pairs_per_step": 2, "updates": 50, "flops": 80.0}
    return {
        "ape": maker.Spec(**(ape | changes.get("ape", {}))),
        "hyma": maker.Spec(**(hyma | {"wall_s": 4.0} | changes.get("hyma", {}))),
    }


def run(maker: Any, folder: Path, **options: Any) -> RunStore:
    specs = options.pop("specs", None) or two_methods(maker, **options.pop("changes", {}))
    return maker.run(folder / "run", specs, images=2, texts=2, **options)


def test_definitions_by_hand(maker: Any, tmp_path: Path) -> None:
    store = run(maker, tmp_path)
    pairs = store.manifest().pairs
    summary = analyse(store).summary
    ape, hyma = summary.methods["ape"], summary.methods["hyma"]

    per_seed = [rho(row, MEAN) for row in HYMA_VAL]
    assert hyma.spearman.per_seed == pytest.approx(per_seed)
    assert hyma.spearman.value == pytest.approx(np.mean(per_seed))
    assert hyma.kendall.value == pytest.approx(np.mean([tau(row, MEAN) for row in HYMA_VAL]))
    # Seed 0 picks pair 1 (0.40 against the oracle's 0.50), seed 1 the oracle itself.
    assert hyma.regret.value == pytest.approx((0.10 + 0.0) / 2)
    assert hyma.best_pair_hit == 0.5
    # Mean validation scores .375 .35 .20 .175: pair 0, whose own test scores are .40 and .44.
    assert hyma.best_pair == pairs[0]
    assert hyma.best_pair_score == pytest.approx(0.42)
    assert hyma.oracle_pair == pairs[0]
    assert hyma.oracle_score == pytest.approx(0.50)
    assert hyma.mean_score == pytest.approx(HYMA_TEST.mean())
    assert hyma.mean_gap == pytest.approx(MEAN.mean() - HYMA_TEST.mean())

    # The reference, leave one seed out: seed 0 against seed 1's test scores and the other way round.
    ceiling = [rho(APE_VAL[0], APE_TEST[1]), rho(APE_VAL[1], APE_TEST[0])]
    assert ape.spearman.per_seed == pytest.approx(ceiling)
    assert summary.noise_ceiling.spearman == pytest.approx(np.mean(ceiling))
    assert ape.regret.value == pytest.approx((0.0 + (0.52 - 0.38)) / 2)
    assert ape.mean_gap == pytest.approx(0)

    assert (hyma.topk_overlap.k, hyma.ndcg.k) == (3, 4)
    low, high = hyma.spearman.ci95 or (1, 0)
    assert low <= (hyma.spearman.value or 0) <= high


def test_costs_by_hand(maker: Any, tmp_path: Path) -> None:
    summary = analyse(run(maker, tmp_path)).summary
    ape, hyma = summary.methods["ape"], summary.methods["hyma"]
    assert ape.flops.total == pytest.approx(400)  # four cells of 100, per seed
    assert ape.flops.connector == pytest.approx(260)
    assert ape.flops.eval == pytest.approx(40)
    assert ape.flops.runner_eval == pytest.approx(20)  # beside the total
    assert ape.flops.encode == pytest.approx(2 * 1e6 + 2 * 2e6)
    assert hyma.flops.total == pytest.approx(80)
    assert ape.wall_s == pytest.approx(4 * 3.0 * 2)  # x 2 CPUs held
    assert hyma.wall_s == pytest.approx(4.0)
    assert hyma.cost_ratio.flops == pytest.approx(5.0)
    assert hyma.cost_ratio.wall == pytest.approx(6.0)
    assert (ape.trained_params, ape.pairs_per_step, hyma.pairs_per_step) == (40, 1, 2)
    assert ape.cost_ratio.flops == pytest.approx(1)


def test_seconds_by_part_add_up_without_overlap(maker: Any, tmp_path: Path) -> None:
    cost = analyse(run(maker, tmp_path)).methods["ape"].cost
    parts = {"train": 0.7, "eval": 0.1, "rest of fit": 0.1, "runner_eval": 0.05, "outside": 0.05}
    assert cost.seconds == pytest.approx({name: share * 24 for name, share in parts.items()})
    assert sum(cost.seconds.values()) == pytest.approx(cost.wall_s)


def test_lower_is_better(maker: Any, tmp_path: Path) -> None:
    """Median rank: the oracle has the lowest, regret is places lost, a training-free score stays larger-is-better."""
    test = np.array([[9.0, 5.0, 21.0, 13.0]] * 2)
    val = np.array([[5.0, 9.0, 30.0, 20.0]] * 2)  # picks pair 0: 4 places worse than pair 1
    specs = {
        "ape": maker.Spec(test, test),
        "hyma": maker.Spec(val, test + 2, kind="joint"),
        "cka": maker.Spec(-test, None, kind="score", batch_size=None, pairs_per_step=None),
    }
    store = run(maker, tmp_path, specs=specs, metric="median_rank", queries=101)
    analysis = analyse(store)
    hyma, cka = analysis.summary.methods["hyma"], analysis.summary.methods["cka"]
    assert hyma.oracle_pair == store.manifest().pairs[1]
    assert hyma.oracle_score == pytest.approx(5.0)
    assert hyma.best_pair == store.manifest().pairs[0]
    assert hyma.regret.value == pytest.approx(4.0)
    assert hyma.mean_gap == pytest.approx(2.0)  # two places worse: positive
    assert hyma.spearman.value == pytest.approx(rho(val[0], test[0]))
    assert cka.spearman.value == pytest.approx(1.0)
    assert cka.regret.value == pytest.approx(0.0)
    assert cka.mean_score is None
    assert cka.best_pair_score is None
    assert hyma.regret.ci95 is not None  # the slow path of the bootstrap
    # Gains are reflected: 34/26 - score... the best pair has the largest gain, so the reference's order scores 1.
    assert analysis.summary.methods["ape"].ndcg.value == pytest.approx(1.0)


def test_one_seed_has_no_ceiling(maker: Any, tmp_path: Path) -> None:
    specs = two_methods(maker)
    for spec in specs.values():
        spec.val, spec.test = spec.val[:1], spec.test[:1]
    summary = analyse(run(maker, tmp_path, specs=specs)).summary
    assert summary.noise_ceiling.spearman is None
    assert summary.methods["ape"].spearman.value is None
    assert summary.methods["ape"].regret.value is None
    assert summary.methods["hyma"].spearman.value == pytest.approx(rho(HYMA_VAL[0], APE_TEST[0]))


def test_failed_diverged_and_missing_cells(maker: Any, tmp_path: Path) -> None:
    status = {(0, 1): "diverged", (1, 1): "diverged", (0, 2): "failed", (1, 2): "timeout", (1, 3): "missing"}
    specs = two_methods(maker)
    specs["ape"].status = status
    del specs["hyma"]
    specs["big"] = maker.Spec(APE_VAL, APE_TEST)
    analysis = analyse(run(maker, tmp_path, specs=specs, reference="big"))
    row = analysis.summary.methods["ape"]
    assert row.status.model_dump() == {"done": 3, "failed": 2, "diverged": 2, "missing": 1}
    # Seed 0: pairs 0, 1 (diverged: last) and 3; pair 2 failed and is left out.
    expected = rho([3, 1, 2], MEAN[[0, 1, 3]])
    assert row.spearman.per_seed[0] == pytest.approx(expected)
    # Seed 1: pairs 0 and 1 are left, rightly ordered.
    assert row.spearman.per_seed[1] == pytest.approx(1.0)
    reasons = {(p.seed, p.status): p.reason for p in analysis.problems}
    assert reasons[0, "diverged"] == "diverged on purpose (step 12)"
    assert reasons[0, "failed"] == "failed on purpose"
    assert reasons[1, "missing"] == "not run yet"
    assert len(analysis.problems) == 5
    # Costs come from seed 0, whose cells all have a record.
    assert row.flops.total == pytest.approx(400)


def test_costs_of_an_unfinished_seed_make_no_ratio(maker: Any, tmp_path: Path) -> None:
    status = {(0, 0): "missing", (1, 2): "missing"}
    summary = analyse(run(maker, tmp_path, changes={"ape": {"status": status}})).summary
    assert summary.methods["ape"].flops.total == pytest.approx(300)
    assert summary.methods["hyma"].cost_ratio.flops is None
    assert summary.views.as_run["hyma"].cost_ratio.flops is None
    assert "ape has no seed with all its cells" in (summary.views.as_run["hyma"].note or "")


def test_a_run_that_has_only_begun(maker: Any, tmp_path: Path) -> None:
    nothing = {(s, p): "missing" for s in range(2) for p in [*range(4), None]}
    changes = {"ape": {"status": nothing}, "hyma": {"status": nothing}}
    summary = analyse(run(maker, tmp_path, changes=changes)).summary
    row = summary.methods["hyma"]
    assert row.status.missing == 2
    assert row.best_pair is None
    assert row.spearman.value is None
    assert row.flops.total is None
    assert summary.interaction_share.value is None


def test_a_diverged_joint_method_ranks_nothing(maker: Any, tmp_path: Path) -> None:
    analysis = analyse(run(maker, tmp_path, changes={"hyma": {"status": {(0, None): "diverged"}}}))
    row = analysis.summary.methods["hyma"]
    assert row.status.diverged == 1
    assert row.spearman.per_seed[0] is None
    assert row.spearman.value == pytest.approx(rho(HYMA_VAL[1], MEAN))
    assert analysis.methods["hyma"].picks[0] is None


def test_without_a_reference(maker: Any, tmp_path: Path) -> None:
    analysis = analyse(run(maker, tmp_path, reference=None))
    row = analysis.summary.methods["hyma"]
    assert analysis.summary.reference is None
    assert row.spearman.value is None
    assert row.oracle_pair is None
    assert row.mean_score == pytest.approx(HYMA_TEST.mean())
    assert row.cost_ratio.flops is None
    assert analysis.summary.views.as_run == {}


def test_without_stored_ranks_there_are_values_but_no_intervals(maker: Any, tmp_path: Path) -> None:
    analysis = analyse(run(maker, tmp_path, arrays=False))
    assert analysis.summary.methods["hyma"].regret.value == pytest.approx(0.05)
    assert analysis.summary.methods["hyma"].regret.ci95 is None
    assert analysis.ties is None


def test_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no run here"):
        analyse(RunStore(tmp_path / "nowhere"))
