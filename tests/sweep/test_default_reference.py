"""A sweep without ``reference`` compares with its grid, if it has one."""

import pytest

GRIDS = "methods={fast: {method: ridge}, short: {method: ape_stacked, epochs: 2, batch_size: 64}, long: {method: ape, epochs: 5, batch_size: 64}}"  # noqa: E501


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (GRIDS, "long"),
        ("methods={fast: {method: ridge}, short: {method: ape_stacked, epochs: 2, batch_size: 64}}", "short"),
        ("methods={fast: {method: ridge}, hyma: {epochs: 2, batch_size: 64, pairs_per_step: 2}}", None),
        ("methods={race: {method: ape_halving, epochs: 8, batch_size: 64}, fast: {method: ridge}}", None),
        ("methods={a: {method: ape, epochs: 2, batch_size: 64}, b: {method: ape, flops: 1.0e6, batch_size: 64}}", "a"),
    ],
    ids=["the longest", "stacked", "none", "halving is no grid", "budgets of unlike units: the first"],
)
def test_the_grid_is_the_reference_by_default(world, methods: str, expected: str | None) -> None:
    plan = world.plan("world.yaml", methods, "reference=null")
    assert plan.reference == expected


def test_what_is_written_stands(world) -> None:
    assert world.plan("world.yaml", "reference=hyma").reference == "hyma"


def test_a_plugin_grid_counts_too(world) -> None:
    world.write("own.py", "from baselines.ape import Ape\n\n\nclass Mine(Ape):\n    version = 1\n")
    methods = "methods={fast: {method: ridge}, mine: {method: './own.py:Mine', epochs: 1, batch_size: 64}}"
    plan = world.plan("world.yaml", methods, "reference=null")
    assert plan.reference == "mine"


def test_the_run_and_its_report_have_it(world) -> None:
    from reports.analysis import analyse

    _, store = world.run("world.yaml", "reference=null", "seeds=[0]")
    assert store.manifest().reference == "ape"
    assert analyse(store).summary.methods["hyma"].spearman.value is not None
