"""What a method is told that each unit of the validation data contributes to a score."""

import pytest

METHOD = """
    from dataclasses import dataclass, replace
    from typing import ClassVar

    from baselines.ape import Ape


    @dataclass(frozen=True, kw_only=True)
    class ByUnit(Ape):
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            fit = super().fit(problem, budget, seed=seed, progress=progress)
            scores = {}
            for pair, made in fit.connectors.items():
                before = problem.ledger.flops["eval"]
                problem.score(pair, made)
                once = problem.ledger.flops["eval"]
                score, units = problem.score_by_unit(pair, made)
                assert problem.ledger.flops["eval"] - once == once - before, "it costs what a score costs"
                assert score == fit.scores[pair]
                scores[pair] = -1.0 if units is None else float(units.mean())
            return replace(fit, scores=scores)
"""


@pytest.mark.parametrize(("metric", "mean"), [("text_to_image_r5", True), ("mean_r1", True), ("median_rank", False)])
def test_contributions_add_up_to_the_score_of_the_same_connector(world, metric: str, mean: bool) -> None:
    world.write("by_unit.py", METHOD)
    methods = "methods={by_unit: {method: './by_unit.py:ByUnit', epochs: 1, batch_size: 64}}"
    plan, store = world.run(
        "world.yaml", methods, "reference=null", "seeds=[0]", "data.captions_per_image=2", f"selection.metric={metric}"
    )
    for cell in plan.cells:
        record = store.record(cell.key)
        assert record.status == "done", record.error
        for found in record.metrics:
            score = found.validation["retrieval"][metric]
            assert found.score == (pytest.approx(score) if mean else -1.0)
