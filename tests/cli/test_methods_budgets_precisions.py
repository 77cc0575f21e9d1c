"""What may be combined: method x precision x kind of budget. What is not is one line, and nothing is written."""

import json
from dataclasses import fields

import pytest

from harness.contract.method import METHODS, takes_budget
from harness.sweep.ladders import BUDGET_KEYS
from harness.training.recipe import Recipe

LIMITS = {"epochs": "2", "updates_per_pair": "7", "flops": "4.0e+6", "seconds": "1"}
NEEDS = {
    "add_encoder": "held_out: image00, pairs_per_step: 3",
    "hyper_align_published": "pairs_per_step: 2",
    "unit1": "",
    "largest": "",
}
"""What a method cannot do without, beside its budget."""
IN_RUNGS = ("ape_asha", "ape_halving")
WITH_STEPS = [name for name in METHODS.names() if issubclass(METHODS.get(name), Recipe)]
TRAINED = [name for name in WITH_STEPS if takes_budget(METHODS.get(name))]  # type: ignore[arg-type]
OTHERS = [name for name in METHODS.names() if name not in WITH_STEPS]


def setting(name: str, *more: str) -> tuple[str, ...]:
    """``--set`` of this one method with these fields, in a world that has what any method asks for."""
    fields_of = ", ".join(field for field in (NEEDS.get(name, ""), *more) if field)
    batch = "batch_size: 32, " if name in WITH_STEPS else ""
    world = "data={kind: synthetic, rows: 400, image_encoders: 3, text_encoders: 2, image_dims: [12], text_dims: [8], "
    facts = "image_params: [10, 11, 12], text_params: [5, 4], classes: 4, seed: 0}"
    return ("--set", world + facts, "--set", f"methods={{{name}: {{{batch}{fields_of}}}}}", "--set", "reference=null")


def nothing_is_left(project) -> bool:
    return not (project.folder / "runs").exists()


@pytest.mark.parametrize("name", TRAINED)
def test_every_trained_method_takes_every_precision_with_every_kind_of_budget(world, name: str) -> None:
    for precision in ("fp32", "bf16", "fp16", "fp64"):
        for budget, limit in LIMITS.items():
            asked = setting(name, f"{budget}: {limit}", f"precision: {precision}")
            code, out, err = world.invoke("validate", "world.yaml", *asked)
            if name in IN_RUNGS and budget == "seconds":
                assert code == 2
                assert "cannot be budgeted in seconds (give epochs, updates_per_pair or flops)" in err
                assert err.count("\n") == 1
            else:
                assert code == 0, f"{precision} {budget}: {out}{err}"
    assert nothing_is_left(world)


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_method_needs_exactly_one_budget_and_a_known_precision(world, refused, name: str) -> None:
    assert "has no budget (give epochs, updates_per_pair, flops or seconds)" in refused(
        world, "validate", "world.yaml", *setting(name)
    )
    two = setting(name, "epochs: 1", "flops: 1.0e+6")
    assert "two budgets: epochs, flops (give one of them)" in refused(world, "validate", "world.yaml", *two)
    wrong = setting(name, "epochs: 1", "precision: fp8")
    told = refused(world, "validate", "world.yaml", *wrong)
    assert f"methods.{name}" in told
    assert "'fp32', 'bf16', 'fp16' or 'fp64'" in told
    assert nothing_is_left(world)


@pytest.mark.parametrize("name", [name for name in WITH_STEPS if name not in TRAINED])
def test_a_method_that_ends_by_itself_takes_every_precision_and_no_budget(world, refused, name: str) -> None:
    for precision in ("fp32", "bf16", "fp16", "fp64"):
        assert world.invoke("validate", "world.yaml", *setting(name, f"precision: {precision}"))[0] == 0
    for budget, limit in LIMITS.items():
        told = refused(world, "validate", "world.yaml", *setting(name, f"{budget}: {limit}"))
        assert f"takes no budget, but {budget} is given (leave it out)" in told
    assert nothing_is_left(world)


@pytest.mark.parametrize("name", OTHERS)
def test_a_method_that_does_not_train_takes_neither_budget_nor_precision(world, refused, name: str) -> None:
    assert not takes_budget(METHODS.get(name))  # type: ignore[arg-type]
    for budget, limit in LIMITS.items():
        told = refused(world, "validate", "world.yaml", *setting(name, f"{budget}: {limit}"))
        assert f"takes no budget, but {budget} is given (leave it out)" in told
    told = refused(world, "validate", "world.yaml", *setting(name, "precision: fp32"))
    assert "unknown key 'precision'" in told
    assert world.invoke("validate", "world.yaml", *setting(name))[0] == 0
    assert nothing_is_left(world)


@pytest.mark.parametrize("limit", ["0", "-1", ".inf", ".nan", "many", "[1]", "{}"])
@pytest.mark.parametrize("budget", BUDGET_KEYS)
def test_a_budget_is_a_positive_finite_number(world, refused, budget: str, limit: str) -> None:
    told = refused(world, "plan", "world.yaml", *setting("ape", f"{budget}: {limit}"))
    assert budget in told
    assert nothing_is_left(world)


def test_a_budget_below_one_step_is_one_step_and_a_larger_one_costs_in_proportion(world) -> None:
    """280 training images in batches of 32: eight steps an epoch."""

    def planned(budget: str) -> dict:
        code, out, err = world.invoke("plan", "world.yaml", "--json", *setting("ape", budget))
        assert code == 0, err
        return json.loads(out)["methods"]["ape"]

    least = planned("updates_per_pair: 1.0e-9")
    assert least["updates_per_pair"] == 1
    assert planned("flops: 1.0")["updates_per_pair"] == 1
    assert planned("epochs: 1")["updates_per_pair"] == 8
    one, four = planned("updates_per_pair: 8"), planned("updates_per_pair: 32")
    assert one["flops"]["connector"] == pytest.approx(8 * least["flops"]["connector"])
    assert four["flops"]["connector"] == pytest.approx(4 * one["flops"]["connector"])
    assert planned("epochs: 4")["flops"] == four["flops"], "32 updates are four epochs"
    assert planned("seconds: 3")["flops"] is None, "only the machine can tell"


def test_a_precision_changes_no_count(world) -> None:
    counts = []
    for precision in ("fp32", "bf16", "fp16", "fp64"):
        asked = setting("hyma", "epochs: 2", f"precision: {precision}", "pairs_per_step: 3")
        code, out, err = world.invoke("plan", "world.yaml", "--json", *asked)
        assert code == 0, err
        counts.append(json.loads(out)["methods"]["hyma"])
    assert all(count == counts[0] for count in counts)


def test_every_setting_of_every_trained_method_is_named_when_it_is_misspelt(world, refused) -> None:
    for name in TRAINED:
        longest = max((field.name for field in fields(METHODS.get(name))), key=len)  # type: ignore[arg-type]
        told = refused(world, "validate", "world.yaml", *setting(name, "epochs: 1", f"{longest}_: 1"))
        assert f"unknown key '{longest}_' (did you mean '{longest}'" in told
