"""Retrieval against a brute-force search in numpy."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from harness.connectors.mlp import Mlp
from harness.contract.connector import Connector, Dims
from harness.contract.metric import measured, values
from harness.data.base import Index
from harness.tasks import base
from harness.tasks.base import Evaluation, SplitView, Task
from harness.tasks.retrieval import KS, Retrieval

PAIR = ("i", "t")
METRICS = Retrieval.metrics
ALL = measured(METRICS)


def middle_place(own: float, others: np.ndarray) -> int:
    """Place of a score among others, ties at the middle, rounded up."""
    above, tied = int((others > own).sum()), int((others == own).sum())
    return 1 + above + (tied + 1) // 2


def brute_force(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> dict[str, list[int]]:
    """Ranks from a similarity matrix, one query after another."""
    scores = texts @ images.T
    to_image = [middle_place(row[o], np.delete(row, o)) for row, o in zip(scores, owner, strict=True)]
    to_text = [middle_place(scores[owner == n, n].max(), scores[owner != n, n]) for n in range(len(images))]
    return {"text_to_image": to_image, "image_to_text": to_text}


def normalised(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def hits_of(ranks: dict[str, list[int]]) -> dict[str, list[int]]:
    """What every query gives, by the definition of each metric."""
    found = {f"{query}_r{k}": [int(rank <= k) for rank in own] for query, own in ranks.items() for k in KS}
    return found | {"median_rank": ranks["text_to_image"]}


def as_lists(found) -> dict[str, list[int]]:
    return {name: queries.tolist() for name, queries in found.items()}


@pytest.fixture
def problem(rows, view_of):
    """Images with their captions in a random order, some rows of other splits in between."""

    def problem(
        images: np.ndarray, texts: np.ndarray, owner: np.ndarray, direction: str
    ) -> tuple[Evaluation, SplitView]:
        rng = np.random.default_rng(5)
        image_rows = np.sort(rng.permutation(2 * len(images))[: len(images)])
        caption_rows = np.sort(rng.permutation(2 * len(texts))[: len(texts)])
        others = np.setdiff1d(np.arange(2 * len(images)), image_rows)
        image_bank = rng.standard_normal((2 * len(images), images.shape[1]))
        text_bank = rng.standard_normal((2 * len(texts), texts.shape[1]))
        image_bank[image_rows], text_bank[caption_rows] = images, texts
        caption_image = rng.choice(others, 2 * len(texts))
        caption_image[caption_rows] = image_rows[owner]
        dataset = rows("data", Index(len(image_bank), caption_image, {"train": others, "test": image_rows}))
        task = Retrieval()
        assert isinstance(task, Task)
        view = view_of(direction, {("data", "image", "i"): image_bank, ("data", "text", "t"): text_bank})
        return task.resolve("r", dataset, ["t"], own_data=False), view

    return problem


def drawn(ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    rng = np.random.default_rng(1)
    owner = rng.permutation(np.concatenate([np.arange(40), rng.integers(0, 40, 60)]))
    if ties:  # few distinct directions of exact length: many equal scores
        images, texts = np.eye(6)[rng.integers(0, 6, 40)], np.eye(6)[rng.integers(0, 6, 100)]
        return images, texts, owner, [(np.eye(6), np.zeros(6))]
    images, texts = normalised(rng.standard_normal((40, 6))), normalised(rng.standard_normal((100, 5)))
    hidden = (
        (rng.standard_normal((9, 5)), rng.standard_normal(9)),
        (rng.standard_normal((6, 9)), rng.standard_normal(6)),
    )
    return images, texts, owner, list(hidden)


@pytest.mark.parametrize("entries", [4_000_000, 700, 1], ids=["whole", "blocks", "single rows"])
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
def test_queries_equal_brute_force(problem, apply_connector, as_tensors, ties: bool, entries: int, monkeypatch) -> None:
    monkeypatch.setattr(base, "ENTRIES_AT_ONCE", entries)
    images, texts, owner, layers = drawn(ties)
    evaluation, view = problem(images, texts, owner, "text_to_image")
    found = evaluation.measure(view, PAIR, as_tensors(layers), ALL)
    expected = brute_force(images, normalised(apply_connector(layers, texts)), owner)
    assert as_lists(found) == hits_of(expected)
    assert np.mean(expected["image_to_text"]) > 0 and len(set(expected["image_to_text"])) > 3
    if ties:
        assert len(set(expected["text_to_image"])) < 40, "the case holds ties"


class LargestTensor(TorchDispatchMode):
    """Notes the entries of the largest tensor that any operation gives."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor):
            self.entries = max(self.entries, found.numel())
        return found


def test_no_tensor_is_larger_than_a_block_however_many_rows_there_are() -> None:
    """A similarity matrix of 2,000 x 10,000 would hold 20 million entries."""
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(rows, 4, generator=generator) for rows in (2_000, 10_000))
    owner = torch.arange(10_000) % 2_000
    with LargestTensor() as largest:
        found = Retrieval().compare(images, texts, owner, ALL)
    assert len(found["text_to_image_r1"]) == 10_000 and len(found["image_to_text_r1"]) == 2_000
    assert 0 < largest.entries <= base.ENTRIES_AT_ONCE < 2_000 * 10_000


def test_values_are_the_textbooks(problem, apply_connector, as_tensors) -> None:
    images, texts, owner, layers = drawn(False)
    evaluation, view = problem(images, texts, owner, "text_to_image")
    found = values(METRICS, evaluation.measure(view, PAIR, as_tensors(layers), ALL))
    ranks = {q: np.array(r) for q, r in brute_force(images, normalised(apply_connector(layers, texts)), owner).items()}
    assert set(found) == set(METRICS)
    for query, own in ranks.items():
        for k in (1, 5, 10):
            assert found[f"{query}_r{k}"] == pytest.approx((own <= k).mean())
    assert found["mean_r1"] == pytest.approx(np.mean([(own <= 1).mean() for own in ranks.values()]))
    assert found["median_rank"] == np.median(ranks["text_to_image"])


def test_image_to_text_maps_the_images(problem, apply_connector, as_tensors) -> None:
    images, texts, owner, layers = drawn(False)
    evaluation, view = problem(np.pad(images, ((0, 0), (0, 2))), texts, owner, "image_to_text")
    rng = np.random.default_rng(2)
    layers = [(rng.standard_normal((5, 8)), rng.standard_normal(5))]
    found = evaluation.measure(view, PAIR, as_tensors(layers), ALL)
    mapped = normalised(apply_connector(layers, np.pad(images, ((0, 0), (0, 2)))))
    assert as_lists(found) == hits_of(brute_force(mapped, texts, owner))


def test_other_captions_of_the_image_do_not_push_it_down(problem, as_tensors) -> None:
    images, owner = np.eye(3), np.array([0, 0, 0, 1, 2])
    texts = np.eye(3)[owner]
    evaluation, view = problem(images, texts, owner, "text_to_image")
    found = evaluation.measure(view, PAIR, as_tensors([(np.eye(3), np.zeros(3))]), ALL)
    assert found["image_to_text_r1"].tolist() == [1, 1, 1]
    assert found["median_rank"].tolist() == [1] * 5


def test_a_broken_connector_never_looks_like_a_hit(problem, as_tensors) -> None:
    images, texts, owner, layers = drawn(False)
    evaluation, view = problem(images, texts, owner, "text_to_image")
    nan = [(np.full_like(w, np.nan), b) for w, b in layers]
    zero = [(np.zeros_like(w), np.zeros_like(b)) for w, b in layers]
    for broken in (nan, zero):
        found = evaluation.measure(view, PAIR, as_tensors(broken), ALL)
        assert min(found["median_rank"]) >= 20
        assert not any(found[f"image_to_text_r{k}"].any() for k in KS)


def test_only_the_asked_metrics_and_the_units_of_all(problem, as_tensors) -> None:
    images, texts, owner, layers = drawn(False)
    evaluation, view = problem(images, texts, owner, "text_to_image")
    assert set(evaluation.measure(view, PAIR, as_tensors(layers), ["image_to_text_r5"])) == {"image_to_text_r5"}
    units = evaluation.units("test")
    assert units["text_to_image"].tolist() == owner.tolist()
    assert units["image_to_text"].tolist() == list(range(40))


@pytest.mark.parametrize("metrics", [ALL, ["text_to_image_r5"]], ids=["both ways", "one way"])
@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_flops_equal_torchs_count(problem, direction, metrics) -> None:
    images, texts, owner, _ = drawn(False)
    evaluation, view = problem(images, texts, owner, direction)
    kind = Mlp(hidden_layers=1, width=9)
    dims = Dims(5, 6) if direction == "text_to_image" else Dims(6, 5)
    connector = Connector(kind, kind.init(dims, torch.Generator()))
    with FlopCounterMode(display=False) as counter, torch.inference_mode(False), torch.no_grad():
        # FlopCounterMode does not see through inference tensors.
        evaluation.measure.__wrapped__(evaluation, view, PAIR, connector, metrics)
    assert evaluation.cost("test", metrics).flops(kind, dims, PAIR, direction) == counter.get_total_flops()


def test_chance_is_the_mean_of_random_answers(problem) -> None:
    images, texts, owner, _ = drawn(False)
    evaluation, _ = problem(images, texts, owner, "text_to_image")
    rng = np.random.default_rng(0)
    draws = [values(METRICS, evaluation.random("test", rng, ALL)) for _ in range(3000)]
    chance = evaluation.chance("test")
    assert set(chance) == set(METRICS)
    for name, expected in chance.items():
        own = np.array([draw[name] for draw in draws])
        assert own.mean() == pytest.approx(expected, abs=1e-9 + 5 * own.std() / np.sqrt(len(own))), name
    assert chance["text_to_image_r5"] == 5 / 40
