"""What the tests of hypernetworks share."""

import itertools
from collections.abc import Callable

import pytest

from harness.method import Sizes


@pytest.fixture(scope="session")
def sizes_of() -> Callable[..., Sizes]:
    """(image dims, text dims, hidden layers) -> the sizes of all their pairs: i0 x t0, i0 x t1, ..."""

    def make(image_dims: list[int], text_dims: list[int], hidden_layers: int = 0) -> Sizes:
        images = {f"i{n}": dim for n, dim in enumerate(image_dims)}
        texts = {f"t{n}": dim for n, dim in enumerate(text_dims)}
        return Sizes(
            pairs=tuple(itertools.product(images, texts)),
            image_dims=images,
            text_dims=texts,
            train_images=256,
            hidden_layers=hidden_layers,
            width=24,
            direction="text_to_image",
            score_flops=lambda pair: 0.0,
        )

    return make
