"""Class names and prompt templates of zero-shot classification, and the prompts as a dataset of captions."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from harness.contract.registry import near
from harness.data.base import Dataset, Index
from harness.data.digests import digest_json
from harness.encoders.base import Modality
from harness.errors import HarnessError

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100 = """
    apple, aquarium_fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy, bridge, bus, butterfly,
    camel, can, castle, caterpillar, cattle, chair, chimpanzee, clock, cloud, cockroach, couch, crab, crocodile, cup,
    dinosaur, dolphin, elephant, flatfish, forest, fox, girl, hamster, house, kangaroo, keyboard, lamp, lawn_mower,
    leopard, lion, lizard, lobster, man, maple_tree, motorcycle, mountain, mouse, mushroom, oak_tree, orange, orchid,
    otter, palm_tree, pear, pickup_truck, pine_tree, plain, plate, poppy, porcupine, possum, rabbit, raccoon, ray, road,
    rocket, rose, sea, seal, shark, shrew, skunk, skyscraper, snail, snake, spider, squirrel, streetcar, sunflower,
    sweet_pepper, table, tank, telephone, television, tiger, tractor, train, trout, tulip, turtle, wardrobe, whale,
    willow_tree, wolf, woman, worm
"""
CIFAR100 = tuple(name.strip().replace("_", " ") for name in _CIFAR100.split(","))


def _imagenet() -> tuple[str, ...]:
    import open_clip

    return tuple(open_clip.IMAGENET_CLASSNAMES)


CLASS_NAMES: dict[str, Callable[[], tuple[str, ...]]] = {
    "imagenet": _imagenet,
    "cifar10": lambda: CIFAR10,
    "cifar100": lambda: CIFAR100,
}
"""Lists of class names that a sweep file may name, in the order of the labels."""

TEMPLATES = ("openai", "simple")
"""Lists of templates that a sweep file may name (open_clip's ImageNet templates)."""


def class_names(classes: str | Sequence[str] | None, own: Sequence[str] | None = None) -> tuple[str, ...]:
    """The names that labels index.

    Args:
        classes: A name of ``CLASS_NAMES``, a list of names, or None for the dataset's own.
        own: The dataset's own class names.

    Raises:
        HarnessError: An unknown list, no names at all, or a list whose length is not the dataset's.
    """
    if classes is None:
        if own is None:
            fix = f"write classes: with one of {', '.join(CLASS_NAMES)} or a list"
            raise HarnessError("the dataset has no class names", fix=fix)
        names = tuple(own)
    elif isinstance(classes, str):
        if classes not in CLASS_NAMES:
            raise HarnessError(f"unknown class names {classes!r}", fix=near(classes, CLASS_NAMES))
        names = CLASS_NAMES[classes]()
    else:
        names = tuple(classes)
    if len(names) < 2:
        raise HarnessError(f"zero-shot classification needs two classes or more, got {len(names)}")
    if own is not None and len(own) != len(names):
        raise HarnessError(f"{len(names)} class names for the {len(own)} classes of the dataset")
    return names


def prompts(names: Sequence[str], templates: str | Sequence[str] = "simple") -> list[list[str]]:
    """``[classes][templates]`` prompts.

    Args:
        names: Class names.
        templates: A name of ``TEMPLATES``, or a list of strings with ``{class}`` (or ``{}``) for the class.

    Raises:
        HarnessError: An unknown list, an empty one, or a template without a place for the class.
    """
    if isinstance(templates, str) and "{" not in templates:
        return [[template(name) for template in _known_templates(templates)] for name in names]
    written = [templates] if isinstance(templates, str) else list(templates)
    if not written:
        raise HarnessError("no prompt templates", fix=f"a list with {{class}}, or one of {', '.join(TEMPLATES)}")
    for template in written:
        if "{class}" not in template and "{}" not in template:
            raise HarnessError(f"template {template!r} has no place for the class", fix="write {class} in it")
    return [[template.replace("{class}", name).replace("{}", name) for template in written] for name in names]


def _known_templates(name: str) -> Sequence[Callable[[str], str]]:
    if name not in TEMPLATES:
        raise HarnessError(f"unknown templates {name!r}", fix=near(name, TEMPLATES))
    import open_clip

    return open_clip.OPENAI_IMAGENET_TEMPLATES if name == "openai" else open_clip.SIMPLE_IMAGENET_TEMPLATES


class ClassPrompts(Dataset):
    """Prompts as a dataset of captions without images, so that they are extracted to banks as captions are.

    Caption rows are class-major: class 0 with every template, class 1 with every template, ... In the index,
    ``caption_image`` gives the class of each prompt.

    Args:
        names: Class names.
        templates: As ``prompts`` takes them.
        name: Name of the dataset, e.g. that of the images it classifies.
    """

    def __init__(
        self, names: Sequence[str], templates: str | Sequence[str] = "simple", *, name: str = "classes"
    ) -> None:
        by_class = prompts(names, templates)
        self.name, self.n_classes, self.n_templates = name, len(by_class), len(by_class[0]) if by_class else 0
        self._prompts = [prompt for of_class in by_class for prompt in of_class]
        self._class_names = tuple(names)
        self.digest = digest_json({"prompts": self._prompts, "classes": self.n_classes})

    def index(self) -> Index:
        """Caption rows only."""
        of_class = np.repeat(np.arange(self.n_classes), self.n_templates)
        return Index(0, of_class, {}, class_names=self._class_names)

    def samples(self, modality: Modality, rows: Sequence[int]) -> Iterable[str]:
        """Prompts of these rows, in order."""
        if modality != "text":
            raise HarnessError(f"{self.name} holds prompts, no {modality} samples")
        return [self._prompts[row] for row in rows]
