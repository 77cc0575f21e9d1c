"""APE: it solves what can be solved, and trains what it says."""

import numpy as np
import pytest
import torch
from harness.config import build_config
from safetensors import safe_open
from scipy.stats import ortho_group

from baselines.ape import Ape, pair_generator
from harness.errors import HarnessError

ROTATED = """
    name: rotated
    data:
      kind: precomputed
      image: {a: image.npy}
      text: {b: text.npy}
    methods: {ape: {epochs: 40, batch_size: 64, lr: 3.0e-2}}
    storage: runs
"""


@pytest.fixture
def rotated(temp_project):
    """Texts are images seen through a random rotation: a linear connector can be exact."""
    images = np.random.default_rng(0).standard_normal((400, 12)).astype(np.float32)
    np.save(temp_project.folder / "image.npy", images)
    np.save(temp_project.folder / "text.npy", images @ ortho_group.rvs(12, random_state=0).astype(np.float32))
    temp_project.write("world.yaml", ROTATED)
    return temp_project


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_a_rotation_is_found(rotated, direction: str) -> None:
    plan = rotated.run("world.yaml", f"connector.direction={direction}")
    record = plan.store.record(plan.cells[0].key)
    found = record.metrics[0].test["retrieval"]
    assert found["text_to_image_r1"] > 0.97
    assert found["image_to_text_r1"] > 0.97
    assert found["median_rank"] == 1.0
    # The connector is the rotation, up to its scale.
    images, texts = (np.load(rotated.folder / f"{side}.npy") for side in ("image", "text"))
    source, target = (texts, images) if direction == "text_to_image" else (images, texts)
    rotation = np.linalg.lstsq(source, target, rcond=None)[0].T
    with safe_open(plan.store.connectors_path(record.key), framework="np") as file:
        weight = file.get_tensor("0.layers.0.weight")
    cosine = (weight * rotation).sum() / np.linalg.norm(weight) / np.linalg.norm(rotation)
    assert cosine > 0.97


def test_random_captions_stay_at_chance(rotated) -> None:
    texts = np.load(rotated.folder / "text.npy")
    np.save(rotated.folder / "text.npy", np.random.default_rng(1).permutation(texts))
    plan = rotated.run()
    found = plan.store.record(plan.cells[0].key).metrics[0].test["retrieval"]
    assert found["text_to_image_r5"] < 0.2, "80 test images: chance is 0.06"


def test_weights_that_overflow_in_the_last_step_are_a_divergence(rotated) -> None:
    plan = rotated.run("world.yaml", "methods={ape: {updates_per_pair: 1, batch_size: 64, lr: 1.0e+39, warmup: 0}}")
    record = plan.store.record(plan.cells[0].key)
    assert record.error == "diverged at step 1: a connector's weights are not finite"


def test_initial_weights_depend_on_seed_and_pair_alone() -> None:
    def draw(seed: int, *pair: str) -> list[float]:
        return torch.rand(4, generator=pair_generator(seed, (pair[0], pair[1]))).tolist()

    assert draw(0, "a", "b") == draw(0, "a", "b")
    others = [draw(1, "a", "b"), draw(0, "a", "c"), draw(0, "c", "b"), draw(0, "b", "a"), draw(0, "ab", "")]
    assert all(other != draw(0, "a", "b") for other in others)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"batch_size": 1}, "m.batch_size: Input should be greater than 1, got 1"),
        ({"lr": 0}, "m.lr: Input should be greater than 0"),
        ({"schedule": "linear"}, "m.schedule: Input should be 'cosine' or 'constant', got 'linear'"),
        ({"logit_scale": "fixed"}, "m.logit_scale: "),
        ({"betas": [0.9]}, "m.betas"),
        ({"weight_deacy": 0.1}, "m: unknown key 'weight_deacy' (did you mean 'weight_decay'?)"),
    ],
)
def test_a_wrong_setting_is_named(values: dict, told: str) -> None:
    with pytest.raises(HarnessError) as caught:
        build_config(Ape, values, where="m")
    assert str(caught.value).startswith(told)


def test_settings_are_converted_to_their_types() -> None:
    ape = build_config(Ape, {"lr": "1e-3", "betas": [0.8, 0.95], "clip": None, "logit_scale": "1e2"}, where="m")
    assert (ape.lr, ape.betas, ape.clip, ape.logit_scale) == (1e-3, (0.8, 0.95), None, 100.0)
