"""The published FLOPs of one epoch over 558,128 rows, from `harness plan --json`, within 0.5 %."""

import json
import math
from pathlib import Path

import pytest

SWEEP = str(Path(__file__).parents[2] / "sweeps" / "published_counts.yaml")


def plan(project, *overrides: str) -> dict:
    sets = [part for override in overrides for part in ("--set", override)]
    code, out, err = project.invoke("plan", SWEEP, "--json", *sets)
    assert code == 0, err
    return json.loads(out)["methods"]


def test_ape_per_encoder(temp_project) -> None:
    """877.8 / 1536.1 / 14,675.9 GFLOP at B = 256 / 1024 / 16,384 (768 -> 384)."""
    methods = plan(temp_project, "data.image={a: 384}", "methods.hyper_align.pairs_per_step=1")
    found = {batch: methods[f"ape_{batch}"]["flops"]["total"] for batch in (256, 1024, 16384)}
    published = {256: 877.8e9, 1024: 1536.1e9, 16384: 14675.9e9}
    assert found == {batch: pytest.approx(count, rel=5e-3) for batch, count in published.items()}


def test_hyper_align_of_twelve_and_six_encoders(temp_project) -> None:
    """N = 12, four per step: 22.165 TFLOP; N = 6, all of 384, six per step: 25.06 TFLOP."""
    twelve = plan(temp_project)["hyper_align"]
    six = plan(
        temp_project,
        "data.image={a: 384, b: 384, c: 384, d: 384, e: 384, f: 384}",
        "methods.hyper_align.pairs_per_step=6",
    )["hyper_align"]
    assert twelve["flops"]["total"] == pytest.approx(22.165e12, rel=5e-3)
    assert six["flops"]["total"] == pytest.approx(25.06e12, rel=5e-3)
    assert twelve["trained_params"] == pytest.approx(404e6, rel=5e-3)
    assert six["flops_ours"]["hypernet"] < six["flops"]["hypernet"]  # we predict 384 rows, not 1024


def test_mlp1_grid_of_three_pairs(temp_project) -> None:
    """384 -> 1024 -> 384 at batch 16,384: 48.6 TFLOP."""
    methods = plan(
        temp_project,
        "data.image={a: 384, b: 384, c: 384}",
        "data.text={t: 384}",
        "connector.hidden_layers=1",
        "methods={ape: {epochs: 1, batch_size: 16384}}",
    )
    assert methods["ape"]["flops"]["total"] == pytest.approx(48.6e12, rel=5e-3)


def test_ours_counts_what_the_papers_leave_out(temp_project) -> None:
    """The doubled similarity matrix is theirs, the optimiser is ours."""
    found = plan(temp_project)["hyper_align"]
    assert "optimizer" not in found["flops"] and found["flops_ours"]["optimizer"] > 0
    steps_theirs, steps_ours = 1091, 1090
    assert found["flops"]["logits"] / steps_theirs == pytest.approx(2 * found["flops_ours"]["logits"] / steps_ours)


@pytest.mark.parametrize("batch, text", [(384, 512), (2048, 1024)])
def test_other_sizes_follow_the_published_formula(temp_project, batch: int, text: int) -> None:
    """steps * B_m * (8 B^2 I + 4 B I T + 6 * 512 * (1024 T + 1024)), I averaged over the dimensions."""
    found = plan(temp_project, f"data.text={{t: {text}}}", f"methods.hyper_align.batch_size={batch}")["hyper_align"]
    mean = (384 + 768 + 1024) / 3
    formula = 8 * batch**2 * mean + 4 * batch * mean * text + 6 * 512 * (1024 * text + 1024)
    assert found["flops"]["total"] == pytest.approx(math.ceil(558128 / batch) * 4 * formula, rel=1e-3)
