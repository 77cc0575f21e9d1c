"""The temperature of contrastive objectives: learned for each pair, or fixed."""

import pytest
import torch

from harness.contract.objective import LogitScale, ObjectiveSetting
from harness.objectives.info_nce import InfoNce

PAIRS = (("a", "x"), ("b", "x"))


def objective_of(logit_scale: LogitScale) -> InfoNce:
    cpu = torch.device("cpu")
    return InfoNce(ObjectiveSetting(pairs=PAIRS, direction="text_to_image", device=cpu, logit_scale=logit_scale))


def test_a_learned_logit_scale_starts_at_clips_and_is_capped_at_100() -> None:
    objective = objective_of("learned")
    assert objective.scales.tolist() == pytest.approx([1 / 0.07] * 2)
    with torch.no_grad():
        objective.log_scale[1] = 20.0
    assert objective.scales.tolist() == pytest.approx([1 / 0.07, 100]), "each pair has its own"
    (objective.scales[0] * 2).backward()
    assert objective.log_scale.grad is not None
    assert objective.log_scale.grad.tolist() == pytest.approx([2 / 0.07, 0.0])


def test_a_fixed_logit_scale_is_not_trained_and_not_capped() -> None:
    objective = objective_of(150.0)
    assert objective.scales.tolist() == pytest.approx([150] * 2)
    assert list(objective.parameters()) == []


@pytest.mark.parametrize(("logit_scale", "trained"), [("learned", 2), (20.0, 0)])
def test_what_is_said_to_be_trained_is_what_is_trained(logit_scale: LogitScale, trained: int) -> None:
    assert sum(p.numel() for p in objective_of(logit_scale).parameters()) == trained
    assert InfoNce.trained_params(len(PAIRS), logit_scale) == trained
