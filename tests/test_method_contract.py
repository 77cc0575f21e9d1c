"""What a method is given and what it may rely on: budgets, batches, problems."""

import itertools
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from harness.flops import Ledger
from harness.losses import info_nce
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.ape import Ape
from harness.errors import Diverged, HarnessError
from harness.method import Budget, Estimate, Method, Problem, Sizes, Split, estimate_of


def split_of(captions_per_image: list[int], seed: int = 0) -> Split:
    """A split without embeddings, its captions in a random order."""
    owner = np.repeat(np.arange(len(captions_per_image)), captions_per_image)
    owner = np.random.default_rng(seed).permutation(owner)
    return Split({}, {}, np.arange(len(captions_per_image)), np.arange(len(owner)), owner)


def sizes_of(**changes: object) -> Sizes:
    values = {
        "pairs": (("i", "t"),),
        "image_dims": {"i": 6},
        "text_dims": {"t": 4},
        "train_images": 100,
        "hidden_layers": 1,
        "width": 10,
        "direction": "text_to_image",
        "score_flops": lambda pair: 7.0,
    }
    return Sizes(**(values | changes))  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(captions=st.lists(st.integers(1, 4), min_size=2, max_size=30), batch=st.integers(1, 30), seed=st.integers(0, 3))
def test_an_epoch_covers_every_image_once_with_one_of_its_captions(captions: list[int], batch: int, seed: int) -> None:
    split, batch = split_of(captions, seed), min(batch, len(captions))
    per_epoch = len(captions) // batch
    for _ in range(2):
        epoch = list(itertools.islice(split.batches(batch, seed), per_epoch))
        images = np.concatenate([b.images for b in epoch])
        assert all(len(b.images) == len(b.captions) == batch for b in epoch)
        assert len(set(images.tolist())) == len(images) == per_epoch * batch
        for b in epoch:
            assert split.caption_image[b.captions].tolist() == b.images.tolist()


def test_batches_depend_on_the_seed_and_the_epoch_alone() -> None:
    split = split_of([5] * 40)
    first, again, other = (list(itertools.islice(split.batches(8, seed), 10)) for seed in (0, 0, 1))
    assert all(np.array_equal(a.captions, b.captions) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.images, b.images) for a, b in zip(first, other, strict=True))
    assert not np.array_equal(first[0].images, first[5].images), "two epochs in the same order"


def test_all_captions_of_an_image_are_drawn_equally_often() -> None:
    split = split_of([4] * 10)
    drawn: Counter[int] = Counter()
    for batch in itertools.islice(split.batches(10, 0), 2000):
        drawn.update(batch.captions.tolist())
    # 2000 draws of one in four: 500 each, standard deviation 19.
    assert len(drawn) == 40
    assert max(abs(count - 500) for count in drawn.values()) < 6 * 19


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(HarnessError, match="batch_size 11 is larger than the 10 training images .set batch_size to 10"):
        next(split_of([1] * 10).batches(11, 0))
    with pytest.raises(HarnessError, match="batch_size 101 is larger than the 100 training images"):
        sizes_of().steps_per_epoch(101)
    assert sizes_of().steps_per_epoch(32) == 3


@pytest.mark.parametrize("given_", [{}, {"epochs": 1.0, "flops": 1.0}, {"epochs": 0.0}, {"updates_per_pair": -1.0}])
def test_a_budget_is_exactly_one_positive_limit(given_: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="exactly one|must be positive"):
        Budget(**given_)


def test_steps_of_every_kind_of_budget() -> None:
    """Ten steps an epoch, a third of the pairs in each, 100 FLOPs a step."""
    counts = {"steps_per_epoch": 10, "updates_per_step": 1 / 3, "flops_per_step": 100.0}
    assert Budget(epochs=2.5).steps(**counts) == 25
    assert Budget(updates_per_pair=7).steps(**counts) == 21
    assert Budget(flops=1099).steps(**counts) == 10, "a FLOPs budget is never exceeded"
    assert Budget(flops=1).steps(**counts) == 1, "but one step is always done"


def test_direction_turns_the_connector_round() -> None:
    assert sizes_of().shape(("i", "t")).layers == ((4, 10), (10, 6))
    assert sizes_of(direction="image_to_text").shape(("i", "t")).layers == ((6, 10), (10, 4))


def test_a_score_is_booked_as_eval_and_timed() -> None:
    problem = Problem(
        sizes=sizes_of(),
        train=split_of([1]),
        validation=split_of([1]),
        loss=info_nce,
        device=torch.device("cpu"),
        ledger=Ledger(),
        scorer=lambda pair, layers: 0.25,
        higher_is_better=True,
    )
    assert [problem.score(("i", "t"), []) for _ in range(3)] == [0.25] * 3
    assert problem.ledger.record().flops == {"eval": 21.0}
    assert problem.ledger.total == 21.0
    assert "eval" in problem.ledger.record().seconds


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_sides_are_the_banks_rows_in_the_order_of_the_direction(finished, direction) -> None:
    plan = finished.plan("world.yaml", f"connector.direction={direction}")
    pair = ("image01", "text00")
    train = plan.workspace.open((pair,), "train")
    problem = Problem(
        sizes=plan.workspace.sizes((pair,)),
        train=train,
        validation=train,
        loss=info_nce,
        device=torch.device("cpu"),
        ledger=Ledger(),
        scorer=lambda pair, layers: 0.0,
        higher_is_better=True,
    )
    batch = next(train.batches(16, 0))
    rows = train.image_rows[batch.images]
    image = np.load(plan.workspace.bank(plan.workspace.dataset, "image", pair[0]).path / "embeddings.npy")[rows]
    text = np.load(plan.workspace.bank(plan.workspace.dataset, "text", pair[1]).path / "embeddings.npy")[rows]
    expected = (text, image) if direction == "text_to_image" else (image, text)
    for found, wanted in zip(problem.sides(pair, batch), expected, strict=True):
        assert np.array_equal(found.numpy(), wanted)
        assert np.linalg.norm(found.numpy(), axis=1) == pytest.approx(1, abs=1e-6)


def test_ape_is_a_method_and_an_estimate_is_optional() -> None:
    assert isinstance(Ape(), Method)

    class Silent:
        kind, version = "score", 1

        def fit(self) -> None: ...

    assert estimate_of(Silent(), sizes_of(), Budget(epochs=1)) is None  # type: ignore[arg-type]
    assert isinstance(estimate_of(Ape(batch_size=10), sizes_of(), Budget(epochs=1)), Estimate)


def test_errors_survive_the_way_back_from_a_worker() -> None:
    wrong = pickle.loads(pickle.dumps(HarnessError("what", where="where", fix="fix")))
    assert (str(wrong), wrong.what, wrong.where, wrong.fix) == ("where: what (fix)", "what", "where", "fix")
    broken = pickle.loads(pickle.dumps(Diverged(3, "loss is nan")))
    assert (broken.step, str(broken)) == (3, "diverged at step 3: loss is nan")
