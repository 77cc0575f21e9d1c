"""A new encoder after a joint run: what is trained, what it costs, when it works, and what the report says of it."""

import numpy as np
import pytest
import torch
from harness.flops import counted
from harness.plan import Plan, estimates

from harness.data.synthetic import SyntheticConfig, SyntheticDataset
from harness.method import Budget, Sizes
from hyma.add_encoder import AddEncoder, NewCondition
from hyma.hypernetwork import Architecture, Hypernetwork
from reports.added import Added, added_entries
from reports.analysis import analyse
from reports.tables import added_table

SIZES = Sizes(
    pairs=(("i0", "t0"), ("i1", "t0"), ("i2", "t0")),
    image_dims={"i0": 10, "i1": 30, "i2": 20},
    text_dims={"t0": 7},
    train_images=256,
    hidden_layers=0,
    width=24,
    direction="text_to_image",
    score_flops=lambda pair: 0.0,
)

WORLD = """
    name: add
    data: {kind: synthetic, rows: 1000, image_encoders: 6, text_encoders: 1, image_dims: [32], text_dims: [32],
           latent: 16, image_qualities: [0.8], text_qualities: [0.8], seed: 1,
           image_families: FAMILIES, family_noise: 0.2}
    methods:
      ape: {updates_per_pair: 60, batch_size: 64, lr: 1.0e-2}
      ape_equal: {method: ape, flops: 7.0e+6, batch_size: 64, lr: 1.0e-2}
      add: {method: add_encoder, held_out: image03, updates_per_pair: 80, condition_updates: 8, batch_size: 64,
            pairs_per_step: 4, lr: 5.0e-3}
      add_seen: {method: add_encoder, held_out: image03, seen: true, updates_per_pair: 80, condition_updates: 40,
                 batch_size: 64, pairs_per_step: 4, lr: 5.0e-3}
    reference: ape
    storage: runs
"""


def added_rows(project, families: str) -> tuple[dict[str, Added], Plan]:
    """What the report says of each method on the pairs of the added encoder."""
    project.write("add.yaml", WORLD.replace("FAMILIES", families))
    plan = project.run("add.yaml")
    entries = added_entries(analyse(plan.store))
    assert {entry.encoder for entry in entries} == {"image03"}
    return {entry.label: entry for entry in entries}, plan


def test_a_relative_of_known_encoders_is_added_for_less_than_training_it(temp_project) -> None:
    """Variants of two families: eight updates of a condition beat a connector of equal cost by far."""
    rows, plan = added_rows(temp_project, "2")
    score = {label: row.scores[0] for label, row in rows.items()}
    assert score["add"] > 0.5 * score["ape"]
    assert score["add"] > 1.5 * score["ape_equal"]
    assert rows["add"].flops < 0.5 * rows["ape"].flops
    # The cost of adding is the condition's alone, within a score of what an ape of the same budget spends.
    assert rows["add"].flops == pytest.approx(rows["ape_equal"].flops, rel=0.2)
    table = added_table(analyse(plan.store))
    assert table is not None
    assert [row[1] for row in table.rows] == ["ape", "ape_equal", "add (adds it)", "add_seen (adds it)"]


def test_a_stranger_cannot_be_added_though_its_condition_can_be_fitted(temp_project) -> None:
    """Unrelated coordinates: near chance (5 of 200) unseen; the same fit finds a seen encoder's connector again."""
    rows, plan = added_rows(temp_project, "null")
    score = {label: row.scores[0] for label, row in rows.items()}
    assert score["add"] < 0.25 * score["ape"]
    assert score["add_seen"] > 0.75 * score["ape"]
    seen = next(plan.store.record(cell.key) for cell in plan.cells if cell.label == "add_seen")
    before, after = seen.curve
    (new,) = [number for number, (image, _) in enumerate(seen.pairs) if image == "image03"]
    # The condition was forgotten before it was fitted: its start is worse than what the fit found.
    start, end = before.scores[new], after.scores[new]
    assert start is not None
    assert end is not None
    assert start < 0.6 * end


@pytest.mark.parametrize(("conditioning", "seen"), [("pair", False), ("factored", True), ("features", False)])
def test_the_plan_is_what_the_cell_spends(temp_project, conditioning: str, seen: bool) -> None:
    text = f"""
        name: cost
        data: {{kind: synthetic, rows: 400, image_encoders: 4, text_encoders: 2, image_dims: [16], text_dims: [12],
                latent: 8}}
        methods:
          add: {{method: add_encoder, held_out: text01, seen: {str(seen).lower()}, conditioning: {conditioning},
                 updates_per_pair: 12, condition_updates: 6, batch_size: 32, pairs_per_step: 2}}
        storage: runs
    """
    temp_project.write("cost.yaml", text)
    plan = temp_project.run("cost.yaml")
    spent, expected = plan.store.record(plan.cells[0].key).ledger.flops, estimates(plan)["add"].flops
    assert expected is not None
    for phase in ("connector", "logits", "hypernet", "optimizer", "eval"):
        assert spent[phase] == pytest.approx(expected[phase], rel=1e-6), phase


def network_of() -> Hypernetwork:
    return Hypernetwork(SIZES, Architecture(conditioning="factored", condition_dim=8, hidden=(16, 6)), seed=0)


def test_a_forgotten_condition_starts_at_the_mean_of_the_others() -> None:
    network = network_of()
    new = ("i1", "t0")
    table = network.condition.image_table
    assert isinstance(table, torch.Tensor)
    text = network.condition.text_table
    assert isinstance(text, torch.Tensor)
    (told,) = network.condition.of_new("i1", [new], {})
    torch.testing.assert_close(told, table[[0, 2]].mean(0) + text[0])


def test_only_the_condition_is_trained_and_its_flops_are_counted() -> None:
    network = network_of()
    network.requires_grad_(False)
    new = SIZES.pairs[1:2]
    condition = NewCondition(network, SIZES, "i1", {})

    def step() -> None:
        made = condition(new)
        torch.stack([t.sum() for layers in made.values() for layer in layers for t in layer]).sum().backward()

    assert counted(step) == network.decoder.condition_step_flops(1)
    assert [p.numel() for p in condition.parameters() if p.requires_grad] == [8]


def test_the_budget_of_the_new_encoder_counts_beside_the_joint_runs() -> None:
    """Three pairs, one held out: 10 updates for two of them, 4 for the third."""
    method = AddEncoder(held_out="i2", pairs_per_step=1, batch_size=64, condition_updates=4)
    assert method.estimate(SIZES, Budget(updates_per_pair=10)).updates_per_pair == pytest.approx((10 + 10 + 4) / 3)


def test_families_are_variants_and_others_are_not() -> None:
    config = {
        "rows": 64,
        "image_encoders": 6,
        "text_encoders": 1,
        "image_dims": [48],
        "latent": 16,
        "image_families": 2,
    }
    views = {
        noise: [SyntheticDataset(SyntheticConfig(**config, family_noise=noise)).view(f"image0{n}") for n in (0, 1, 2)]
        for noise in (0.0, 0.3)
    }
    for noise, (first, other, relative) in views.items():
        for view in (first, other, relative):
            np.testing.assert_allclose(view.directions.T @ view.directions, np.eye(13), atol=1e-12)
        overlap = (first.directions * relative.directions).sum(0)
        assert (overlap > (0.85 if noise else 1 - 1e-12)).all()
        assert abs((first.directions * other.directions).sum(0)).max() < 0.6
        assert ((first.gains > 0) == (relative.gains > 0)).all()


def test_a_family_has_one_dimension() -> None:
    with pytest.raises(ValueError, match="image_families 4 is no multiple of the 3 image_dims"):
        SyntheticConfig(rows=9, image_encoders=6, text_encoders=1, image_dims=[8, 9, 10], image_families=4)
