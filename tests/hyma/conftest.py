"""What the tests of hypernetworks share."""

from collections.abc import Callable, Sequence

import pytest

from harness.method import Sizes
from tests.problems import connector_of, numbered_sizes


@pytest.fixture(scope="session")
def sizes_of() -> Callable[..., Sizes]:
    """(image dims, text dims, hidden layers) -> the sizes of all their pairs: i0 x t0, i0 x t1, ..."""

    def make(image_dims: Sequence[int], text_dims: Sequence[int], hidden_layers: int = 0) -> Sizes:
        return numbered_sizes(image_dims, text_dims, connector=connector_of(hidden_layers))

    return make
