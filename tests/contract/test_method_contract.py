"""What a method is given and what it may rely on: budgets, sizes, problems, errors."""

import pickle

import numpy as np
import pytest
import torch

from baselines.ape import Ape
from harness.connectors.linear import Linear
from harness.connectors.mlp import Mlp
from harness.contract.budget import Budget
from harness.contract.connector import Connector, Dims
from harness.contract.fit import Estimate
from harness.contract.ledger import Ledger
from harness.contract.method import Estimates, Method, estimate_of
from harness.contract.pairs import Pair
from harness.contract.problem import Problem, ScoringCost, Sizes
from harness.contract.split import Split
from harness.errors import Diverged, HarnessError
from harness.objectives.info_nce import InfoNce

DEEP = Mlp(hidden_layers=1, width=10)


def sizes_of(**changes: object) -> Sizes:
    values = {
        "pairs": (("i", "t"),),
        "image_dims": {"i": 6},
        "text_dims": {"t": 4},
        "train_images": 100,
        "connector": DEEP,
        "direction": "text_to_image",
        "objective": InfoNce,
        "scoring": ScoringCost(images=30, texts=50, comparisons=30 * 50, of_text={"t": 7.0}),
    }
    return Sizes(**(values | changes))  # type: ignore[arg-type]


def problem_of(scorer) -> Problem:
    one = Split({}, {}, np.arange(1), np.arange(1), np.zeros(1, dtype=np.int64))
    return Problem(
        sizes=sizes_of(),
        train=one,
        validation=one,
        device=torch.device("cpu"),
        ledger=Ledger(),
        scorer=scorer,
        higher_is_better=True,
    )


@pytest.mark.parametrize("given", [{}, {"epochs": 1.0, "flops": 1.0}, {"epochs": 0.0}, {"updates_per_pair": -1.0}])
def test_a_budget_is_exactly_one_positive_limit(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="exactly one|must be positive"):
        Budget(**given)


def test_steps_of_every_kind_of_budget() -> None:
    """Ten steps an epoch, a third of the pairs in each, 100 FLOPs a step."""
    counts = {"steps_per_epoch": 10, "updates_per_step": 1 / 3, "flops_per_step": 100.0}
    assert Budget(epochs=2.5).steps(**counts) == 25
    assert Budget(updates_per_pair=7).steps(**counts) == 21
    assert Budget(flops=1099).steps(**counts) == 10, "a FLOPs budget is never exceeded"
    assert Budget(flops=1).steps(**counts) == 1, "but one step is always done"
    with pytest.raises(ValueError, match="seconds is not known beforehand"):
        Budget(seconds=9).steps(**counts)


def test_only_what_all_pairs_share_is_divided_among_them() -> None:
    """FLOPs and seconds are of the whole cell; epochs and updates are each pair's own."""
    assert Budget(flops=12).shared_by(4) == Budget(flops=3)
    assert Budget(seconds=12).shared_by(4) == Budget(seconds=3)
    assert Budget(epochs=12).shared_by(4) == Budget(epochs=12)
    assert Budget(updates_per_pair=12).shared_by(4) == Budget(updates_per_pair=12)


def test_direction_turns_the_connector_round() -> None:
    pair = ("i", "t")
    there, back = sizes_of(), sizes_of(direction="image_to_text")
    assert (there.dims(pair), there.sides(pair)) == (Dims(4, 6), ("t", "i"))
    assert (back.dims(pair), back.sides(pair)) == (Dims(6, 4), ("i", "t"))


def test_an_epoch_has_only_whole_batches() -> None:
    assert sizes_of().steps_per_epoch(32) == 3
    with pytest.raises(HarnessError, match="batch_size 101 is larger than the 100 training images"):
        sizes_of().steps_per_epoch(101)


def test_a_score_costs_mapping_comparing_and_what_the_text_encoder_adds() -> None:
    pair = ("i", "t")
    mapped = 2 * 50 * (4 * 10 + 10 * 6)
    assert sizes_of().score_flops(pair) == mapped + 2 * 30 * 50 * 6 + 7
    assert sizes_of(direction="image_to_text").score_flops(pair) == 2 * 30 * (6 * 10 + 10 * 4) + 2 * 30 * 50 * 4 + 7
    assert sizes_of().score_flops(pair, Linear()) == 2 * 50 * 4 * 6 + 2 * 30 * 50 * 6 + 7


def test_a_score_is_booked_as_eval_and_timed_by_what_the_connector_is() -> None:
    seen: list[Connector] = []

    def scorer(pair: Pair, connector: Connector) -> float:
        seen.append(connector)
        return 0.25

    problem = problem_of(scorer)
    layers = [(torch.zeros(6, 4), torch.zeros(6))]
    deep = Connector(DEEP, DEEP.init(Dims(4, 6), torch.Generator()))
    assert [problem.score(("i", "t"), given) for given in (layers, layers, deep)] == [0.25] * 3
    assert [connector.kind for connector in seen] == [Linear(), Linear(), DEEP]
    sizes = problem.sizes
    expected = 2 * sizes.score_flops(("i", "t"), Linear()) + sizes.score_flops(("i", "t"))
    assert dict(problem.ledger.flops) == {"eval": expected}
    assert problem.ledger.total == expected
    assert "eval" in problem.ledger.seconds


def test_ape_is_a_method_and_an_estimate_is_optional() -> None:
    assert isinstance(Ape(), Method)
    assert isinstance(Ape(), Estimates)

    class Silent:
        kind, version = "score", 1

        def fit(self) -> None: ...

    assert estimate_of(Silent(), sizes_of(), Budget(epochs=1)) is None  # type: ignore[arg-type]
    found = estimate_of(Ape(batch_size=10), sizes_of(), Budget(epochs=1))
    assert isinstance(found, Estimate)
    assert found.updates_per_pair == 10
    assert estimate_of(Ape(batch_size=10), sizes_of(), Budget(seconds=1)) is None, "only the machine can tell"
    with pytest.raises(HarnessError, match="larger than the 100 training images"):
        estimate_of(Ape(batch_size=101), sizes_of(), Budget(seconds=1))


def test_the_published_convention_counts_training_products_alone() -> None:
    ours = estimate_of(Ape(batch_size=10), sizes_of(), Budget(epochs=1))
    published = estimate_of(Ape(batch_size=10), sizes_of(), Budget(epochs=1), "published")
    assert ours is not None
    assert published is not None
    assert set(ours.flops) == {"connector", "logits", "optimizer", "eval"}
    assert published.flops == {phase: ours.flops[phase] for phase in ("connector", "logits")}


def test_errors_survive_the_way_back_from_a_worker() -> None:
    wrong = pickle.loads(pickle.dumps(HarnessError("what", where="where", fix="fix")))
    assert (str(wrong), wrong.what, wrong.where, wrong.fix) == ("where: what (fix)", "what", "where", "fix")
    broken = pickle.loads(pickle.dumps(Diverged(3, "loss is nan")))
    assert (broken.step, str(broken)) == (3, "diverged at step 3: loss is nan")
