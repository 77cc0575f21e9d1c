"""Zero-shot classification against a hand-written loop over classes and templates."""

import numpy as np
import pytest

from harness.connectors.linear import Linear
from harness.contract.connector import Dims
from harness.contract.metric import measured, values
from harness.data.base import Index
from harness.data.classes import ClassPrompts
from harness.errors import HarnessError
from harness.tasks.base import SplitView
from harness.tasks.retrieval import Retrieval
from harness.tasks.zero_shot import ZeroShot, ZeroShotEvaluation

PAIR = ("i", "t")
CLASSES, TEMPLATES = 7, 3
METRICS = ("top1", "top5")


def normalised(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def task_of(rows, view_of):
    """Sixty images with a caption each; every other one is a test image, and a few of these have no label."""
    rng = np.random.default_rng(0)
    images = normalised(rng.standard_normal((60, 6)))
    captions = normalised(rng.standard_normal((60, 5)))
    prompts = normalised(rng.standard_normal((CLASSES * TEMPLATES, 5)))
    test, labels = np.arange(0, 60, 2), rng.integers(0, CLASSES, 60)
    labels[[4, 20, 40]] = -1
    index = Index(60, np.arange(60), {"test": test}, labels=labels, class_names=tuple("abcdefg"))
    classes = ["{class}", "a {class}", "the {class}"]

    def task_of(direction) -> tuple[ZeroShotEvaluation, SplitView, np.ndarray, np.ndarray, np.ndarray]:
        evaluation = ZeroShot(templates=classes).resolve("z", rows("data", index), ["t"], own_data=False)
        assert isinstance(evaluation, ZeroShotEvaluation)
        found = {
            ("data", "image", "i"): images,
            ("data", "text", "t"): captions,
            (evaluation.prompts.name, "text", "t"): prompts,
        }
        labelled = test[labels[test] >= 0]
        return evaluation, view_of(direction, found), images[labelled], prompts, labels[labelled]

    return task_of


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_hits_equal_a_loop_over_classes(task_of, apply_connector, as_tensors, direction) -> None:
    evaluation, view, images, prompts, labels = task_of(direction)
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
    expected = np.array([1 + int((row > row[label]).sum()) for row, label in zip(scores, labels, strict=True)])
    found = evaluation.measure(view, PAIR, as_tensors(layers), METRICS)
    assert found["top1"].tolist() == (expected <= 1).tolist()
    assert found["top5"].tolist() == (expected <= 5).tolist()
    assert len(set(expected.tolist())) > 3
    assert values(evaluation.metrics, found)["top5"] == pytest.approx((expected <= 5).mean())


def test_one_view_serves_two_tasks_on_the_same_images(task_of, as_tensors) -> None:
    """Retrieval reads every image, zero-shot those with a label."""
    evaluation, view, _, _, labels = task_of("text_to_image")
    rng = np.random.default_rng(1)
    connector = as_tensors([(rng.standard_normal((6, 5)), rng.standard_normal(6))])
    alone = evaluation.measure(view, PAIR, connector, METRICS)
    paired = Retrieval().resolve("r", evaluation.dataset, ["t"], own_data=False)
    both = paired.measure(view, PAIR, connector, measured(Retrieval.metrics))
    again = evaluation.measure(view, PAIR, connector, METRICS)
    assert len(both["text_to_image_r1"]) == 30
    assert len(again["top1"]) == len(labels) == 27
    assert {name: row.tolist() for name, row in again.items()} == {name: row.tolist() for name, row in alone.items()}


def test_templates_are_averaged_after_normalisation(rows, view_of, as_tensors) -> None:
    """One long and wrong prompt must not outvote two short and right ones."""
    prompts = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 50.0], [0.8, 0.6], [0.8, 0.6], [0.8, 0.6]])
    data = rows("data", Index(1, np.zeros(0, dtype=np.int64), {"test": np.array([0])}, labels=np.array([0])))
    texts = ClassPrompts(["one", "two"], ["{class}", "a {class}", "the {class}"], name="prompts")
    evaluation = ZeroShotEvaluation("z", data, texts, 2, 3)
    found = {("data", "image", "i"): np.array([[1.0, 0.0]]), ("prompts", "text", "t"): prompts}
    identity = as_tensors([(np.eye(2), np.zeros(2))])
    # Class 0 points to (2, 1) / sqrt(5) = 0.894 along the image, class 1 to 0.8; unnormalised it would be 0.04.
    assert evaluation.measure(view_of("text_to_image", found), PAIR, identity, ["top1"])["top1"].tolist() == [1]


def test_flops_and_units(task_of) -> None:
    evaluation, _, images, _, _ = task_of("text_to_image")
    by_hand = 2 * CLASSES * TEMPLATES * 5 * 6 + 2 * len(images) * CLASSES * 6
    assert evaluation.cost("test", METRICS).flops(Linear(), Dims(5, 6), PAIR, "text_to_image") == by_hand
    units = evaluation.units("test")["zero_shot"].tolist()
    assert (len(units), len(set(units))) == (27, 27), "every labelled image is a unit of its own"


def test_chance_is_k_of_the_classes_and_what_random_answers_give(task_of) -> None:
    evaluation = task_of("text_to_image")[0]
    assert evaluation.chance("test") == {"top1": 1 / 7, "top5": 5 / 7}
    rng = np.random.default_rng(0)
    draws = [values(evaluation.metrics, evaluation.random("test", rng, METRICS)) for _ in range(2000)]
    for name, expected in evaluation.chance("test").items():
        assert np.mean([draw[name] for draw in draws]) == pytest.approx(expected, abs=0.01)


def test_data_without_labels_is_refused(rows) -> None:
    data = rows("data", Index(3, np.arange(3), {"test": np.arange(3)}))
    with pytest.raises(HarnessError, match="zero_shot needs class labels, which the data has not"):
        ZeroShot().resolve("z", data, ["t"], own_data=False)
