"""A conditioning on features: the means of a batch while it trains, those of the whole bank for scoring and export."""

import numpy as np
import torch

from harness.connectors.stored import from_bytes
from harness.contract.metric import values
from hyma.joint import bank_means
from tests.problems import problem_of


def test_means_are_those_of_all_training_rows(world) -> None:
    plan, _ = world.run("world.yaml", "seeds=[0]", "reference=null", "methods={random: {}}")
    resolved = plan.resolved
    train = resolved.open(resolved.pairs, "train")
    means = bank_means(problem_of(resolved.sizes(resolved.pairs), train))
    for name, bank in train.image_banks.items():
        of_all = bank.take(train.image_rows).mean(0)
        np.testing.assert_allclose(means["image", name].numpy(), of_all, rtol=1e-5, atol=1e-7)
    for name, bank in train.text_banks.items():
        of_all = bank.take(train.caption_rows).mean(0)
        np.testing.assert_allclose(means["text", name].numpy(), of_all, rtol=1e-5, atol=1e-7)


def test_what_is_stored_scores_as_recorded(world) -> None:
    """So connectors do not depend on the batch that happened to be last."""
    settings = "epochs: 2, batch_size: 64, pairs_per_step: 3, hidden: [8, 16]"
    plan, store = world.run("world.yaml", "seeds=[0]", "reference=null", f"methods={{hyper_align: {{{settings}}}}}")
    (cell,) = plan.cells
    record, data, resolved = store.record(cell.key), store.connectors(cell.key), plan.resolved
    assert record.status == "done", record.error
    assert data is not None
    evaluation, metric = resolved.selection_evaluation, resolved.sweep.selection.metric
    view = resolved.view("validation", torch.device("cpu"))
    for number, pair in enumerate(record.pairs):
        found = evaluation.measure(view, pair, from_bytes(data, number), resolved.scored)
        assert values(evaluation.metrics, found)[metric] == record.metrics[number].score
