"""Zero-shot classification against a hand-written loop over classes and templates."""

import numpy as np
import pytest
import torch

from harness.method import Sizes
from harness.tasks.zero_shot import ZeroShot

PAIR = ("i", "t")
CLASSES, TEMPLATES = 7, 3


def normalised(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def task_of(bank_of):
    rng = np.random.default_rng(0)
    images = normalised(rng.standard_normal((60, 6)))
    prompts = normalised(rng.standard_normal((CLASSES * TEMPLATES, 5)))
    rows, labels = np.arange(0, 60, 2), rng.integers(0, CLASSES, 30)

    def task_of(direction) -> tuple[ZeroShot, np.ndarray, np.ndarray, np.ndarray]:
        task = ZeroShot(
            label="z",
            image_banks={"i": bank_of(images)},
            prompt_banks={"t": bank_of(prompts)},
            rows=rows,
            labels=labels,
            templates=TEMPLATES,
            direction=direction,
            device=torch.device("cpu"),
        )
        return task, images[rows], prompts, labels

    return task_of


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_ranks_equal_a_loop_over_classes(task_of, apply_connector, direction) -> None:
    task, images, prompts, labels = task_of(direction)
    rng = np.random.default_rng(1)
    size = (6, 5) if direction == "text_to_image" else (5, 6)
    layers = [(rng.standard_normal(size), rng.standard_normal(size[0]))]
    if direction == "text_to_image":
        prompts = apply_connector(layers, prompts)
    else:
        images = apply_connector(layers, images)
    classes = []
    for number in range(CLASSES):  # class-major: all templates of class 0 first
        of_class = prompts[number * TEMPLATES : (number + 1) * TEMPLATES]
        classes.append(np.mean([row / np.linalg.norm(row) for row in of_class], axis=0))
    scores = normalised(images) @ normalised(np.array(classes)).T
    expected = [1 + int((row > row[label]).sum()) for row, label in zip(scores, labels, strict=True)]
    tensors = [(torch.tensor(w, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)) for w, b in layers]
    assert task.ranks(PAIR, tensors, ("zero_shot",))["zero_shot"].tolist() == expected
    assert len(set(expected)) > 3


def test_templates_are_averaged_after_normalisation(bank_of) -> None:
    """One long and wrong prompt must not outvote two short and right ones."""
    prompts = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 50.0], [0.8, 0.6], [0.8, 0.6], [0.8, 0.6]])
    task = ZeroShot(
        label="z",
        image_banks={"i": bank_of(np.array([[1.0, 0.0]]))},
        prompt_banks={"t": bank_of(prompts)},
        rows=np.array([0]),
        labels=np.array([0]),
        templates=3,
        direction="text_to_image",
        device=torch.device("cpu"),
    )
    identity = [(torch.eye(2), torch.zeros(2))]
    # Class 0 points to (2, 1) / sqrt(5) = 0.894 along the image, class 1 to 0.8; unnormalised it would be 0.04.
    assert task.ranks(PAIR, identity, ("zero_shot",))["zero_shot"].tolist() == [1]


def test_flops_and_units(task_of) -> None:
    task, images, _, _ = task_of("text_to_image")
    sizes = Sizes((PAIR,), {"i": 6}, {"t": 5}, 40, 0, 9, "text_to_image", lambda pair: 0.0)
    by_hand = 2 * CLASSES * TEMPLATES * 5 * 6 + 2 * len(images) * CLASSES * 6
    assert task.flops(sizes, PAIR, ("zero_shot",)) == by_hand
    assert task.units()["zero_shot"].tolist() == list(range(30))
