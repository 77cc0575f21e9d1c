"""Synthetic worlds whose factors are not Gaussian."""

import numpy as np
import pytest
from pydantic import ValidationError

from harness.data.synthetic import SyntheticConfig, SyntheticDataset
from harness.errors import HarnessError


def world(**changes: object) -> SyntheticDataset:
    """One very good image encoder, whose embeddings are its factors turned, plus offset and next to no noise."""
    settings = {"rows": 20_000, "image_encoders": 1, "text_encoders": 1, "image_dims": [8], "text_dims": [8]}
    known = {"latent": 8, "image_qualities": [0.99], "nonlinearity": 0, "classes": 0}
    return SyntheticDataset(SyntheticConfig.model_validate(settings | known | changes))


def factors(data: SyntheticDataset) -> np.ndarray:
    """What the encoder sees of the factors, each scaled to unit variance."""
    view = data.view("image00")
    rows = (data.embeddings("image00", "image", 0, 20_000).astype(np.float64) - view.offset) @ view.directions
    return rows / rows.std(axis=0)


def kurtosis(rows: np.ndarray) -> np.ndarray:
    return (rows**4).mean(axis=0)


def test_tails_are_students() -> None:
    np.testing.assert_allclose(kurtosis(factors(world())), 3, atol=0.3)
    found = factors(world(tails=9))
    # Student's t of 9 degrees of freedom has kurtosis 3 + 6 / (9 - 4); one size for all factors of an image.
    np.testing.assert_allclose(kurtosis(found), 4.2, atol=0.8)
    assert np.corrcoef(found[:, 0] ** 2, found[:, 1] ** 2)[0, 1] > 0.08


def test_products_are_uncorrelated_with_their_factors_and_follow_from_them() -> None:
    data = world(products=0.5, latent=6)
    drawn = data._latents(0)  # a whole block of factors
    assert np.abs(np.corrcoef(drawn.T) - np.eye(6)).max() < 0.15
    np.testing.assert_allclose(drawn[:, 3], drawn[:, 0] * drawn[:, 1])


def test_bent_worlds_are_other_data_and_have_no_truth_in_closed_form() -> None:
    plain, tails, products = world(), world(tails=5), world(products=0.5)
    assert len({plain.digest, tails.digest, products.digest}) == 3
    assert plain.truth()
    for bent in (tails, products):
        with pytest.raises(HarnessError, match="Gaussian"):
            bent.truth()
    with pytest.raises(ValidationError, match="fewer than 3"):
        world(products=0.9, latent=4)
