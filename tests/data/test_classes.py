import numpy as np
import open_clip
import pytest

from harness.data.classes import CIFAR100, ClassPrompts, class_names, prompts
from harness.errors import HarnessError
from tests.data.samples import captions_of, images_of


def test_names_by_name_list_or_dataset():
    assert class_names("imagenet") == tuple(open_clip.IMAGENET_CLASSNAMES)
    assert class_names("cifar10")[-1] == "truck"
    # CIFAR-100's fine labels are numbered alphabetically.
    assert class_names("cifar100") == tuple(sorted(CIFAR100))
    assert len(set(CIFAR100)) == 100
    assert class_names(None, own=["a", "b"]) == ("a", "b")
    assert class_names(["x", "y"], own=["a", "b"]) == ("x", "y")


def test_templates_are_open_clips_own():
    made = prompts(["tench"], "openai")[0]
    assert made == [template("tench") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert len(prompts(["tench"], "simple")[0]) == 7
    assert prompts(["cat", "dog"], ["a {class}.", "the {}"]) == [["a cat.", "the cat"], ["a dog.", "the dog"]]


def test_prompts_are_a_dataset_of_captions_in_class_major_order():
    data = ClassPrompts(["cat", "dog"], ["a {class}", "one {class}", "my {class}"], name="pets")
    index = data.index()
    assert index.n_images == 0
    assert index.caption_image.tolist() == [0, 0, 0, 1, 1, 1]
    assert captions_of(data, np.arange(2, 4).tolist()) == ["my cat", "a dog"]
    assert data.digest == ClassPrompts(["cat", "dog"], ["a {class}", "one {class}", "my {class}"]).digest
    assert data.digest != ClassPrompts(["dog", "cat"], ["a {class}", "one {class}", "my {class}"]).digest
    with pytest.raises(HarnessError, match="holds prompts, no image samples"):
        images_of(data, [0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_names("imagnet"), "unknown class names 'imagnet' .did you mean 'imagenet'"),
        (lambda: class_names(None), "the dataset has no class names"),
        (lambda: class_names(["only"]), "two classes or more"),
        (lambda: class_names("cifar10", own=["a", "b"]), "10 class names for the 2 classes"),
        (lambda: prompts(["a", "b"], "opnai"), "unknown templates 'opnai' .did you mean 'openai'"),
        (lambda: prompts(["a", "b"], ["a photo"]), "has no place for the class"),
        (lambda: prompts(["a", "b"], []), "no prompt templates"),
    ],
)
def test_bad_input(call, message: str):
    with pytest.raises(HarnessError, match=message):
        call()
