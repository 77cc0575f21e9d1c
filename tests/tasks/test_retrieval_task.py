"""Retrieval against a brute-force search in numpy."""

import numpy as np
import pytest
import torch
from harness.flops import counted

from harness.method import Sizes, Split
from harness.tasks import base, retrieval
from harness.tasks.base import Task
from harness.tasks.retrieval import Retrieval

PAIR = ("i", "t")
QUERIES = ("text_to_image", "image_to_text")


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


@pytest.fixture
def problem(bank_of):
    """40 images with one to four captions each, in a random order, some rows of other splits in between."""

    def problem(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> Split:
        rng = np.random.default_rng(5)
        image_rows = np.sort(rng.permutation(2 * len(images))[: len(images)])
        caption_rows = np.sort(rng.permutation(2 * len(texts))[: len(texts)])
        image_bank = rng.standard_normal((2 * len(images), images.shape[1]))
        text_bank = rng.standard_normal((2 * len(texts), texts.shape[1]))
        image_bank[image_rows], text_bank[caption_rows] = images, texts
        return Split({"i": bank_of(image_bank)}, {"t": bank_of(text_bank)}, image_rows, caption_rows, owner)

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


def as_tensors(layers: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.tensor(w, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)) for w, b in layers]


@pytest.mark.parametrize("chunk", [2048, 7])
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
def test_ranks_equal_brute_force(problem, apply_connector, ties: bool, chunk: int, monkeypatch) -> None:
    monkeypatch.setattr(base, "CHUNK", chunk)
    monkeypatch.setattr(retrieval, "CHUNK", chunk)
    images, texts, owner, layers = drawn(ties)
    split = problem(images, texts, owner)
    task = Retrieval(label="r", split=split, direction="text_to_image", device=torch.device("cpu"))
    assert isinstance(task, Task)
    found = task.ranks(PAIR, as_tensors(layers), QUERIES)
    expected = brute_force(images, normalised(apply_connector(layers, texts)), owner)
    assert {query: ranks.tolist() for query, ranks in found.items()} == expected
    if ties:
        assert len(set(expected["text_to_image"])) < 40, "the case holds ties"


def test_image_to_text_maps_the_images(problem, apply_connector) -> None:
    images, texts, owner, layers = drawn(False)
    split = problem(np.pad(images, ((0, 0), (0, 2))), texts, owner)
    rng = np.random.default_rng(2)
    layers = [(rng.standard_normal((5, 8)), rng.standard_normal(5))]
    task = Retrieval(label="r", split=split, direction="image_to_text", device=torch.device("cpu"))
    found = task.ranks(PAIR, as_tensors(layers), QUERIES)
    mapped = normalised(apply_connector(layers, np.pad(images, ((0, 0), (0, 2)))))
    assert {query: ranks.tolist() for query, ranks in found.items()} == brute_force(mapped, texts, owner)


def test_other_captions_of_the_image_do_not_push_it_down(problem) -> None:
    images, owner = np.eye(3), np.array([0, 0, 0, 1, 2])
    texts = np.eye(3)[owner]
    task = Retrieval(
        label="r", split=problem(images, texts, owner), direction="text_to_image", device=torch.device("cpu")
    )
    found = task.ranks(PAIR, as_tensors([(np.eye(3), np.zeros(3))]), QUERIES)
    assert found["image_to_text"].tolist() == [1, 1, 1]
    assert found["text_to_image"].tolist() == [1] * 5


def test_a_broken_connector_never_looks_like_a_hit(problem) -> None:
    images, texts, owner, layers = drawn(False)
    split = problem(images, texts, owner)
    task = Retrieval(label="r", split=split, direction="text_to_image", device=torch.device("cpu"))
    nan = [(np.full_like(w, np.nan), b) for w, b in layers]
    zero = [(np.zeros_like(w), np.zeros_like(b)) for w, b in layers]
    for broken in (nan, zero):
        found = task.ranks(PAIR, as_tensors(broken), QUERIES)
        assert min(found["text_to_image"]) >= 20
        assert min(found["image_to_text"]) >= 40


def test_only_the_asked_queries_and_their_units(problem) -> None:
    images, texts, owner, layers = drawn(False)
    split = problem(images, texts, owner)
    task = Retrieval(label="r", split=split, direction="text_to_image", device=torch.device("cpu"))
    assert set(task.ranks(PAIR, as_tensors(layers), ("image_to_text",))) == {"image_to_text"}
    assert task.units()["text_to_image"].tolist() == owner.tolist()
    assert task.units()["image_to_text"].tolist() == list(range(40))


@pytest.mark.parametrize("queries", [QUERIES, QUERIES[:1]])
@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_flops_equal_torchs_count(problem, direction, queries) -> None:
    images, texts, owner, _ = drawn(False)
    split = problem(images, texts, owner)
    sizes = Sizes((PAIR,), {"i": 6}, {"t": 5}, 40, 1, 9, direction, lambda pair: 0.0)
    shape = sizes.shape(PAIR)
    layers = [(torch.randn(o, i), torch.randn(o)) for i, o in shape.layers]
    task = Retrieval(label="r", split=split, direction=direction, device=torch.device("cpu"))

    def evaluate() -> None:
        with torch.inference_mode(False):  # FlopCounterMode does not see through inference tensors
            task.ranks.__wrapped__(task, PAIR, layers, queries)  # type: ignore[attr-defined]

    assert task.flops(sizes, PAIR, queries) == counted(evaluate)
