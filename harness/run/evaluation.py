"""The common evaluation of every method's connectors on validation and test, outside the method's total."""

from collections.abc import Mapping

import numpy as np

from harness.contract.connector import Connector
from harness.contract.fit import Fit
from harness.contract.metric import measured, values
from harness.contract.pairs import Pair
from harness.contract.problem import Problem
from harness.run.records import PairMetrics
from harness.sweep.resolve import ResolvedSweep


def evaluate(
    resolved: ResolvedSweep, problem: Problem, fit: Fit, made: Mapping[Pair, Connector]
) -> tuple[list[PairMetrics], dict[str, np.ndarray]]:
    """All tasks on both splits, for every pair that has a connector.

    Args:
        resolved: The sweep.
        problem: The cell's problem.
        fit: What its method returned.
        made: Its connectors.

    Returns:
        The numbers of each pair that was not lost, and what each test query gave (see ``RunStore.queries``).
    """
    numbers: dict[str, dict[Pair, dict[str, dict[str, float]]]] = {"validation": {}, "test": {}}
    queries: dict[str, np.ndarray] = {}
    with problem.ledger.section("runner_eval"):
        for split, found in numbers.items() if made else ():
            if split == "test" and resolved.without_test:
                continue
            view = resolved.view(split, problem.device)
            for evaluation in resolved.evaluations:
                own = measured(evaluation.metrics)
                cost = evaluation.cost(split, own)
                for number, pair in enumerate(problem.pairs):
                    if pair not in made:
                        continue
                    of_pair = evaluation.measure(view, pair, made[pair], own)
                    flops = cost.flops(made[pair].kind, problem.sizes.dims(pair), pair, problem.sizes.direction)
                    problem.ledger.add("runner_eval", flops)
                    found.setdefault(pair, {})[evaluation.label] = values(evaluation.metrics, of_pair)
                    if split == "test":
                        queries |= {f"{number}/{evaluation.label}/{name}": row for name, row in of_pair.items()}
                if split == "test":
                    units = evaluation.units(split)
                    queries |= {f"{evaluation.label}/{query}/unit": unit for query, unit in units.items()}
    metrics = [
        PairMetrics(
            image=pair[0],
            text=pair[1],
            score=fit.scores[pair],
            validation=numbers["validation"].get(pair, {}),
            test=numbers["test"].get(pair, {}),
        )
        for pair in problem.pairs
        if pair not in fit.lost
    ]
    return metrics, queries
