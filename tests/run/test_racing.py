"""A method that races pairs says which ones it could not tell from the best, and the record keeps their order."""

METHOD = """
    from dataclasses import dataclass, replace
    from typing import ClassVar

    from baselines.race import still_racing
    from baselines.closed_form import Ridge


    @dataclass(frozen=True, kw_only=True)
    class Racing(Ridge):
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            fit = super().fit(problem, budget, seed=seed, progress=progress)
            gave = {pair: problem.score_by_unit(pair, made)[1] for pair, made in fit.connectors.items()}
            left = still_racing(gave, higher_is_better=problem.higher_is_better, indifference=0.0, seed=seed)
            return replace(fit, racing=tuple(left))
"""


def test_the_record_keeps_the_pairs_in_the_race_best_first(world) -> None:
    world.write("racing.py", METHOD)
    plan, store = world.run("world.yaml", "methods={r: {method: './racing.py:Racing'}, ridge: {}}", "reference=null")
    for cell in plan.cells:
        record = store.record(cell.key)
        assert record.status == "done", record.error
        scores = {(found.image, found.text): found.score for found in record.metrics}
        if cell.label == "ridge":
            assert record.racing == []
            continue
        assert record.racing[0] == max(scores, key=lambda pair: scores[pair])
        assert record.racing == sorted(record.racing, key=lambda pair: -scores[pair])
        worst = min(scores, key=lambda pair: scores[pair])
        assert worst not in record.racing, "the pairs of this world differ widely"
