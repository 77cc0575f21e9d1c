"""Problems over small banks that a test makes itself, as fixtures."""

from collections.abc import Callable

import numpy as np
import pytest

from tests import problems


@pytest.fixture
def make() -> Callable[..., problems.Made]:
    """``make(images, texts, ...)``: see ``problems.matched``."""
    return problems.matched


@pytest.fixture
def views() -> Callable[..., dict[str, np.ndarray]]:
    """``views(rows, dims, ...)``: see ``problems.views``."""
    return problems.views
