"""What a plan says that a sweep will cost, under both conventions of counting."""

import pytest

from harness.contract.method import counted_by
from harness.method import Estimate
from harness.sweep.estimates import estimates

JOINT = "epochs: 8, batch_size: 64, pairs_per_step: 3"
OF_HYPERNETS = {
    "hyma": f"{{{JOINT}, hidden: [16, 8]}}",
    "encoder_layers": f"{{{JOINT}, space_dim: 4}}",
    "add_encoder": f"{{{JOINT}, hidden: [16, 8], held_out: image00, condition_updates: 5}}",
}


def test_the_published_convention_counts_training_products_of_methods_with_rungs_alone(world) -> None:
    """By hand: 280 images in batches of 64 are 4 steps an epoch. 8 epochs and eta 2 make rungs that end after 8, 16 and
    32 steps, of 6, 3 and 1 pairs: 6 x 8 + 3 x 8 + 1 x 16 = 88 steps, of a pair that is as likely each.
    """
    methods = "methods={ape: {epochs: 8, batch_size: 64}, ape_halving: {epochs: 8, batch_size: 64, eta: 2}}"
    published, ours = (
        estimates(world.plan("world.yaml", methods, f"flop_convention={convention}"))["ape_halving"]
        for convention in ("published", "ours")
    )
    # Image dimensions 12, 20, 12 and text dimensions 8, 16: the mean of in x out, and of out, over the six pairs.
    connector, logits = 88 * 4 * 64 * 12 * (44 / 3), 88 * 4 * 64**2 * (44 / 3)
    assert published.flops == pytest.approx({"connector": connector, "logits": logits, "total": connector + logits})
    assert ours.flops is not None
    assert ours.flops["optimizer"] > 0
    assert ours.flops["eval"] > 0
    assert published.flops_ours == ours.flops


@pytest.mark.parametrize("method", OF_HYPERNETS)
def test_the_published_convention_leaves_out_what_makes_connectors_to_be_scored(world, method: str) -> None:
    """The papers count training, whose steps cost the same however often connectors are scored."""

    def hypernet(epochs: int, convention: str) -> float:
        settings = (
            OF_HYPERNETS[method]
            .replace("epochs: 8", f"epochs: {epochs}")
            .replace("condition_updates: 5", f"condition_updates: {5 * epochs}")
        )
        chosen = (f"methods={{m: {{method: {method}, {settings[1:-1]}}}}}", "reference=null")
        flops = estimates(world.plan("world.yaml", *chosen, f"flop_convention={convention}"))["m"].flops
        assert flops is not None
        return flops.get("hypernet", 0.0)

    assert hypernet(8, "published") == pytest.approx(8 * hypernet(1, "published"))
    assert hypernet(8, "ours") > hypernet(8, "published")
    assert hypernet(8, "ours") < 8 * hypernet(1, "ours")


def test_conventions_of_an_estimate() -> None:
    estimate = Estimate(
        {"connector": 1.0, "logits": 2.0, "hypernet": 7.0, "optimizer": 3.0, "eval": 5.0}, generation=4.0
    )
    assert counted_by("ours", estimate) is estimate
    found = counted_by("published", estimate)
    assert found is not None
    assert found.flops == {"connector": 1.0, "logits": 2.0, "hypernet": 3.0}
    assert counted_by("published", None) is None
