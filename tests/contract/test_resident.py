"""Embeddings kept on the training device: the same batches, the bank read no more than it must be."""

import itertools

import numpy as np
import pytest
import torch

from harness.contract.resident import Resident, resident_on
from harness.contract.split import Batch, Split
from tests.problems import Table

CPU = torch.device("cpu")
IMAGES, CAPTIONS, DIM = 40, 80, 6


def split_of(rng: np.random.Generator) -> tuple[Split, Table, Table]:
    """A split of every other row of two banks, two captions for each image."""
    image, text = (Table(rng.standard_normal((2 * n, DIM)).astype(np.float32)) for n in (IMAGES, CAPTIONS))
    image_rows, caption_rows = np.arange(0, 2 * IMAGES, 2), np.arange(0, 2 * CAPTIONS, 2)
    return Split({"i": image}, {"t": text}, image_rows, caption_rows, np.repeat(np.arange(IMAGES), 2)), image, text


def first(split: Split, count: int, resident: Resident | None) -> list[Batch]:
    return list(itertools.islice(split.batches(10, seed=3, device=CPU, resident=resident), count))


def test_batches_are_the_same_wherever_rows_are_gathered() -> None:
    split, *_ = split_of(np.random.default_rng(0))
    resident = Resident(CPU, room=10**6)
    for plain, kept in zip(first(split, 40, None), first(split, 40, resident), strict=True):
        assert torch.equal(plain.image("i"), kept.image("i"))
        assert torch.equal(plain.text("t"), kept.text("t"))
    assert set(resident.tables) == {("image", "i"), ("text", "t")}
    assert torch.equal(resident.tables["text", "t"], split.texts("t"))


def test_a_bank_is_read_once_more_at_most() -> None:
    """Rows are moved after as many as there are have been gathered, and the bank is not read after that."""
    split, image, text = split_of(np.random.default_rng(0))
    resident = Resident(CPU, room=10**6)
    for number, batch in enumerate(first(split, 40, resident), start=1):
        batch.image("i"), batch.text("t")
        # Four batches are an epoch of images; captions are twice as many.
        assert image.rows_read == (10 * number if number < 4 else 2 * IMAGES)
        assert text.rows_read == (10 * number if number < 8 else 2 * CAPTIONS)


@pytest.mark.parametrize(
    ("room", "kept"), [(0, set()), (CAPTIONS * DIM * 4 - 1, {"image"}), (CAPTIONS * DIM * 4, {"image"})]
)
def test_what_does_not_fit_stays_on_the_host(room: int, kept: set[str]) -> None:
    """The images come first and take their part of the room."""
    split, *_ = split_of(np.random.default_rng(0))
    resident = Resident(CPU, room)
    for plain, own in zip(first(split, 40, None), first(split, 40, resident), strict=True):
        assert torch.equal(plain.image("i"), own.image("i"))
        assert torch.equal(plain.text("t"), own.text("t"))
    assert {modality for modality, _ in resident.tables} == kept
    assert resident.room == room - len(kept) * IMAGES * DIM * 4


def test_the_cpu_keeps_nothing_twice() -> None:
    assert resident_on(CPU) is None
