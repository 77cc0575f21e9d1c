import tracemalloc
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import rankdata

from harness.data.embedding import normalise
from harness.data.synthetic import SyntheticConfig, SyntheticDataset
from harness.encoders.base import Modality
from harness.errors import HarnessError

WORLD: dict[str, Any] = {"rows": 3000, "image_encoders": 6, "text_encoders": 4, "image_dims": [64, 96, 48]}


def world(**more: Any) -> SyntheticDataset:
    return SyntheticDataset(SyntheticConfig(**{**WORLD, "text_dims": [64, 32], **more}))


def recall(scores: np.ndarray, right: np.ndarray, k: int) -> float:
    """Share of rows in which fewer than k answers have a larger score than the right one."""
    own = scores[np.arange(len(scores)), right]
    return float(((scores > own[:, None]).sum(axis=1) < k).mean())


def ridge_recall(data: SyntheticDataset, image: str, text: str, k: int) -> float:
    """R@k on the test split of the closed-form linear connector, the simplest honest judge of a pair."""
    index = data.index()
    train, test = index.splits["train"], index.splits["test"]
    images = normalise(data.embeddings(image, "image", 0, index.n_images))
    texts = normalise(data.embeddings(text, "text", 0, index.n_captions))
    mean_i, mean_t = images[train].mean(axis=0), texts[train].mean(axis=0)
    x, y = texts[train] - mean_t, images[train] - mean_i
    mapped = normalise((texts[test] - mean_t) @ np.linalg.solve(x.T @ x + 1e-2 * np.eye(x.shape[1]), x.T @ y))
    return recall(mapped @ normalise(images[test] - mean_i).T, np.arange(len(test)), k)


@pytest.mark.parametrize("seed", [0, 1])
def test_trained_connectors_recover_the_true_ranking(seed: int):
    data = world(seed=seed)
    truth = data.truth()
    found = {pair: ridge_recall(data, *pair, 5) for pair in truth}
    pairs = list(truth)
    true, measured = ([scores[pair] for pair in pairs] for scores in (truth, found))
    correlation = np.corrcoef(rankdata(true), rankdata(measured))[0, 1]  # Spearman's
    assert correlation > 0.9
    # A grid worth ranking: from poor to good pairs, mostly but not wholly additive.
    assert min(found.values()) < 0.2
    assert max(found.values()) > 0.8
    grid = np.array([found[pair] for pair in pairs]).reshape(6, 4)
    additive = grid.mean(axis=1, keepdims=True) + grid.mean(axis=0) - grid.mean()
    share = ((grid - additive) ** 2).sum() / ((grid - grid.mean()) ** 2).sum()
    assert 0.005 < share < 0.2


def test_truth_is_the_mutual_information_of_the_embeddings():
    # Without the squash the world is jointly Gaussian: I = 1/2 (log|C_i| + log|C_t| - log|C_it|), estimated from data.
    data = world(rows=40_000, image_dims=[20], text_dims=[16], latent=12, nonlinearity=0, classes=0, seed=4)
    images = data.embeddings("image01", "image", 0, 40_000).astype(np.float64)
    texts = data.embeddings("text02", "text", 0, 40_000).astype(np.float64)

    def log_det(rows: np.ndarray) -> float:
        return np.linalg.slogdet(np.cov(rows, rowvar=False))[1]

    estimate = 0.5 * (log_det(images) + log_det(texts) - log_det(np.hstack([images, texts])))
    bias = images.shape[1] * texts.shape[1] / (2 * len(images))
    assert data.truth()["image01", "text02"] == pytest.approx(estimate - bias, rel=0.02)


def test_better_encoders_share_more():
    data = world(image_encoders=2, text_encoders=2, image_qualities=[0.2, 0.9], text_qualities=[0.3, 0.8])
    truth = data.truth()
    assert max(truth, key=truth.__getitem__) == ("image01", "text01")
    assert min(truth, key=truth.__getitem__) == ("image00", "text00")
    assert data.view("image01").quality == 0.9


def test_rows_do_not_depend_on_how_they_are_asked_for():
    data, again = world(captions_per_image=3), world(captions_per_image=3)
    whole = data.embeddings("text01", "text", 0, 9000)
    parts = [again.embeddings("text01", "text", start, min(start + 700, 9000)) for start in range(0, 9000, 700)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert whole.shape == (9000, 32)
    assert whole.dtype == np.float32


def test_captions_of_one_image_resemble_it():
    data = world(rows=500, captions_per_image=2, image_qualities=[0.95], text_qualities=[0.95], caption_noise=0.2)
    text = normalise(data.embeddings("text00", "text", 0, 1000))
    nearest = (text @ text.T - 2 * np.eye(1000)).argmax(axis=1)
    assert np.mean(nearest // 2 == np.arange(1000) // 2) > 0.9
    assert data.index().caption_image.tolist() == [i // 2 for i in range(1000)]


def test_another_encoder_or_more_rows_change_nothing_for_the_others():
    small = world(image_qualities=[0.5], text_qualities=[0.5])
    large = world(image_qualities=[0.5], text_qualities=[0.5], image_encoders=9)
    assert small.digest == large.digest
    assert (small.own_encoders("image"))["image03"] == large.own_encoders("image")["image03"]
    longer = world(image_qualities=[0.5], text_qualities=[0.5], rows=5000)
    assert longer.digest != small.digest
    for data in (large, longer):
        assert np.array_equal(
            data.embeddings("image03", "image", 0, 3000), small.embeddings("image03", "image", 0, 3000)
        )
    revisions = {world(seed=seed).own_encoders("image")["image00"].revision for seed in range(3)}
    assert len(revisions) == 3


def zero_shot_top1(quality: float) -> float:
    data = world(image_qualities=[quality], text_qualities=[quality], rows=4000, latent=8, classes=5)
    index = data.index()
    assert index.class_names is not None
    assert index.labels is not None
    assert set(index.labels.tolist()) == set(range(5))
    images = data.embeddings("image00", "image", 0, 4000)
    texts = data.embeddings("text00", "text", 0, 4000)
    named = data.class_embeddings("text00")
    assert named is not None
    weights = np.linalg.lstsq(texts - texts.mean(axis=0), images - images.mean(axis=0), rcond=None)[0]
    mapped = normalise((named - texts.mean(axis=0)) @ weights)
    return recall(normalise(images - images.mean(axis=0)) @ mapped.T, index.labels, 1)


def test_classes_can_be_told_from_text():
    good, poor = zero_shot_top1(0.95), zero_shot_top1(0.3)
    assert good > 0.5 > poor > 0.2, "chance is 0.2"
    assert world(classes=0).class_embeddings("text00") is None


def test_a_slice_of_a_large_world_takes_the_memory_of_a_slice():
    data = world(rows=1_000_000, classes=0)
    tracemalloc.start()
    rows = data.embeddings("image00", "image", 700_000, 700_100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.shape == (100, 64)
    assert peak < 30e6, "all rows would be 256 MB"


def test_reading_rows_shard_by_shard_draws_every_number_once(monkeypatch: pytest.MonkeyPatch):
    drawn: list[int] = []
    draw = SyntheticDataset._draw_block

    def noted(self: SyntheticDataset, modality: Modality, number: int, block: int) -> np.ndarray:
        made = draw(self, modality, number, block)
        drawn.append(len(made))
        return made

    monkeypatch.setattr(SyntheticDataset, "_draw_block", noted)
    data = world(rows=12_000)
    for start in range(0, 12_000, 500):
        data.embeddings("image00", "image", start, start + 500)
    assert sum(drawn) == 12_000


def test_refusals():
    with pytest.raises(HarnessError, match="holds embeddings, no image samples"):
        world().samples("image", [0])
    with pytest.raises(HarnessError, match="holds embeddings, no text samples"):
        world().samples("text", [0])
    for more in ({"image_qualities": [1.0]}, {"rows": 0}, {"classes": 1}, {"text_dims": []}):
        with pytest.raises(ValidationError):
            world(**more)


def test_stated_parameters_change_nothing_but_what_is_stated() -> None:
    plain, stated = world(), world(image_params=[22e6, 86e6])
    assert stated.digest == plain.digest
    for number, (name, info) in enumerate(stated.own_encoders("image").items()):
        assert info.params == [22_000_000, 86_000_000][number % 2]
        assert info.revision == plain.own_encoders("image")[name].revision
    assert {info.params for info in stated.own_encoders("text").values()} == {None}
