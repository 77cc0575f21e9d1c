"""Training batches: every captioned image once an epoch with a caption of its own, the same for every method."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contract.split import Batch, Bucketing, Split
from harness.errors import HarnessError


def split_of(captions_per_image: list[int], seed: int = 0) -> Split:
    """A split without embeddings, its captions in a random order."""
    owner = np.repeat(np.arange(len(captions_per_image)), captions_per_image)
    owner = np.random.default_rng(seed).permutation(owner)
    return Split({}, {}, np.arange(len(captions_per_image)), np.arange(len(owner)), owner)


def first(split: Split, count: int, *, batch_size: int, seed: int = 0, shuffle: bool = True) -> list[Batch]:
    return list(itertools.islice(split.batches(batch_size, seed, shuffle=shuffle), count))


@settings(max_examples=40)
@given(captions=st.lists(st.integers(0, 4), min_size=2, max_size=30), batch=st.integers(1, 30), seed=st.integers(0, 3))
def test_an_epoch_covers_every_captioned_image_once_with_one_of_its_captions(
    captions: list[int], batch: int, seed: int
) -> None:
    captioned = {image for image, count in enumerate(captions) if count}
    if not captioned:
        return
    split, batch = split_of(captions, seed), min(batch, len(captioned))
    per_epoch = len(captioned) // batch
    batches = first(split, 2 * per_epoch, batch_size=batch, seed=seed)
    for epoch in (batches[:per_epoch], batches[per_epoch:]):
        images = np.concatenate([b.images for b in epoch])
        assert all(len(b) == len(b.images) == len(b.captions) == batch for b in epoch)
        assert len(set(images.tolist())) == len(images) == per_epoch * batch
        assert set(images.tolist()) <= captioned
        for b in epoch:
            assert split.caption_image[b.captions].tolist() == b.images.tolist()


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("captions", [[0, 2, 1, 3], [2, 0, 0, 3], [1, 2, 1, 0]], ids=["first", "middle", "last"])
def test_an_image_without_captions_takes_no_part(captions: list[int], shuffle: bool) -> None:
    """It must not be given the caption of the image that happens to come after it."""
    split = split_of(captions)
    own = [image for image, count in enumerate(captions) if count]
    for batch in first(split, 200, batch_size=len(own), shuffle=shuffle):
        assert sorted(batch.images.tolist()) == own
        assert split.caption_image[batch.captions].tolist() == batch.images.tolist()


def test_without_shuffling_images_come_in_their_order() -> None:
    split = split_of([1, 0, 2, 1, 3])
    assert [b.images.tolist() for b in first(split, 4, batch_size=2, shuffle=False)] == [[0, 2], [3, 4]] * 2


def test_batches_depend_on_the_seed_and_the_epoch_alone() -> None:
    split = split_of([5] * 40)
    one, again, other = (first(split, 10, batch_size=8, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a.captions, b.captions) for a, b in zip(one, again, strict=True))
    assert not any(np.array_equal(a.images, b.images) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(one[0].images, one[5].images), "two epochs in the same order"


def test_all_captions_of_an_image_are_drawn_equally_often() -> None:
    drawn: Counter[int] = Counter()
    for batch in first(split_of([4] * 10), 2000, batch_size=10):
        drawn.update(batch.captions.tolist())
    # 2000 draws of one in four: 500 each, standard deviation 19.
    assert len(drawn) == 40
    assert max(abs(count - 500) for count in drawn.values()) < 6 * 19


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(HarnessError, match="batch_size 11 is larger than the 10 training images .set batch_size to 10"):
        next(split_of([1] * 10).batches(11, 0))
    with pytest.raises(HarnessError, match="batch_size 3 is larger than the 2 training images"):
        next(split_of([1, 0, 1]).batches(3, 0))


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_sides_are_the_banks_rows_in_the_order_of_the_direction(finished, direction) -> None:
    plan = finished.plan("world.yaml", f"connector.direction={direction}")
    pair = ("image01", "text00")
    train = plan.resolved.open((pair,), "train")
    batch = next(train.batches(16, 0))
    at = train.image_rows[batch.images], train.caption_rows[batch.captions]
    sides = zip(("image", "text"), pair, strict=True)
    banks = [plan.resolved.bank(plan.resolved.dataset, side, name) for side, name in sides]
    image, text = (np.load(bank.path / "embeddings.npy")[rows] for bank, rows in zip(banks, at, strict=True))
    expected = (text, image) if direction == "text_to_image" else (image, text)
    for found, wanted in zip(batch.sides(pair, direction), expected, strict=True):
        assert np.array_equal(found.numpy(), wanted)
        assert np.linalg.norm(found.numpy(), axis=1) == pytest.approx(1, abs=1e-6)


@settings(max_examples=30)
@given(images=st.integers(4, 40), size=st.integers(1, 6), window=st.integers(2, 4), seed=st.integers(0, 3))
def test_bucketing_sorts_a_windows_captions_by_length_and_keeps_the_epoch(
    images: int, size: int, window: int, seed: int
) -> None:
    size = min(size, images)
    plain = split_of([2] * images, seed)
    lengths = np.random.default_rng(seed).integers(1, 9, 2 * images)
    split = dataclasses.replace(plain, bucketing=Bucketing(lengths, window))
    per_epoch = images // size
    drawn, sorted_, again = (first(s, per_epoch, batch_size=size, seed=seed) for s in (plain, split, split))
    assert [b.captions.tolist() for b in sorted_] == [b.captions.tolist() for b in again]
    for start in range(0, per_epoch, window):
        own, other = drawn[start : start + window], sorted_[start : start + window]
        assert sorted(np.concatenate([b.captions for b in own])) == sorted(np.concatenate([b.captions for b in other]))
        ranges = sorted((int(lengths[b.captions].min()), int(lengths[b.captions].max())) for b in other)
        assert all(low[1] <= high[0] for low, high in itertools.pairwise(ranges)), "no length in two far batches"
    for batch in sorted_:
        assert split.caption_image[batch.captions].tolist() == batch.images.tolist()
