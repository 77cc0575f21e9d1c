"""Cells and keys: what changes them, what does not, and what a plan costs."""

from collections.abc import Callable

import pytest
from harness.plan import Plan, estimates, make_manifest
from PIL import Image

from baselines.ape import Ape
from harness.errors import HarnessError
from hyma.method import Hyma

Keys = dict[tuple[str, int, frozenset[tuple[str, str]]], str]


def keys(plan: Plan) -> Keys:
    return {(cell.label, cell.seed, frozenset(cell.pairs)): cell.key for cell in plan.cells}


@pytest.fixture
def changed(world) -> Callable[..., set[str]]:
    """Labels of the methods with a cell whose key is another one under these overrides."""
    before = keys(world.plan())

    def changed(*overrides: str) -> set[str]:
        after = keys(world.plan("world.yaml", *overrides))
        assert set(after) == set(before)
        return {cell[0] for cell in before if before[cell] != after[cell]}

    return changed


BOTH = {"ape", "hyma"}


@pytest.mark.parametrize(
    ("override", "labels"),
    [
        ("methods.ape.lr=0.02", {"ape"}),
        ("methods.hyma.hidden=[16, 4]", {"hyma"}),
        ("methods.ape.epochs=4", {"ape"}),
        ("connector.hidden_layers=1", BOTH),
        ("connector.direction=image_to_text", BOTH),
        ("tasks=[retrieval, zero_shot]", BOTH),
        ("selection.metric=text_to_image_r1", BOTH),
        ("data.rows=401", BOTH),
        ("data.seed=1", BOTH),
        ("data.nonlinearity=0.1", BOTH),
        ("data.split={train: 0.6, validation: 0.2, test: 0.2}", BOTH),
        ("bank.dtype=float16", BOTH),
    ],
)
def test_a_key_changes_with_what_changes_the_numbers(changed, override: str, labels: set[str]) -> None:
    assert changed(override) == labels


@pytest.mark.parametrize(
    "override",
    [
        "storage=elsewhere",
        "name=renamed",
        "reference=null",
        "methods.ape.resources={cpu: 2, gpu: 0.5, timeout_s: 9}",
        "methods.ape.lr=1e-2",
        "methods.ape.warmup=0.1",
        "bank.batch_size=7",
        "bank.shard_rows=100",
        "image_encoders=[image02, image00, image01]",
        "text_encoders=[text01, text00]",
        "text_encoders=[text00, {id: text01, license: mit, flops_per_sample: 9, seconds_per_sample: 0.1}]",
    ],
)
def test_a_key_does_not_change_with_what_does_not(changed, override: str) -> None:
    assert changed(override) == set()


def test_a_key_knows_neither_the_label_nor_the_order_of_the_methods(world) -> None:
    before = keys(world.plan())
    text = (world.folder / "world.yaml").read_text()
    ape, hyma = (line for line in text.splitlines(keepends=True) if "epochs" in line)
    text = text.replace(ape + hyma, hyma + ape.replace("ape:  {", "grid: {method: ape, "))
    world.write("world.yaml", text.replace("reference: ape", "reference: grid"))
    after = keys(world.plan())
    assert {cell[0] for cell in after} == {"grid", "hyma"}
    assert set(after.values()) == set(before.values())


def test_a_raised_version_makes_new_cells(world, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(world.plan())
    monkeypatch.setattr(Ape, "version", Ape.version + 1)
    after = keys(world.plan())
    assert all((before[cell] == after[cell]) == (cell[0] == "hyma") for cell in before)


def test_a_larger_grid_keeps_the_cells_of_its_pairs(world) -> None:
    qualities = ("data.image_qualities=[0.4, 0.6, 0.8]", "data.text_qualities=[0.5]")
    small = keys(world.plan("world.yaml", *qualities, "data.image_encoders=2"))
    large = keys(world.plan("world.yaml", *qualities))
    apes = [cell for cell in small if cell[0] == "ape"]
    assert len(apes) == 8
    assert all(small[cell] == large[cell] for cell in apes)
    assert not {small[c] for c in small if c[0] == "hyma"} & set(large.values())


def test_cells_are_one_per_pair_and_seed_or_one_per_seed(world) -> None:
    plan = world.plan("world.yaml", "seeds=[4, 5, 6]")
    assert len({cell.key for cell in plan.cells}) == len(plan.cells) == 3 * 6 + 3
    assert [cell.label for cell in plan.cells[:3]] == ["hyma"] * 3, "the longest first"
    assert all(len(cell.pairs) == (1 if cell.label == "ape" else 6) for cell in plan.cells)


def test_methods_of_equal_config_share_their_cells(world) -> None:
    plan = world.plan("world.yaml", "methods.twin={method: ape, epochs: 3, batch_size: 64, lr: 0.01}")
    assert len(plan.cells) == 26
    assert len(plan.missing()) == 14


def test_two_plug_ins_of_one_name_do_not_share_cells(world) -> None:
    for folder, version in (("one", 1), ("two", 1), ("three", 2)):
        source = f"""
            from dataclasses import dataclass
            from baselines.ape import Ape

            @dataclass(frozen=True, kw_only=True)
            class Mine(Ape):
                version = {version}
            """
        world.write(f"{folder}/mine.py", source)

    def methods(*folders: str) -> str:
        made = (f"{f}: {{method: './{f}/mine.py:Mine', epochs: 1, batch_size: 64}}" for f in folders)
        return f"methods={{{', '.join(made)}}}"

    with pytest.raises(HarnessError, match="methods.two: is taken for 'one': both are 'mine.py:Mine' of the same"):
        world.plan("world.yaml", methods("one", "two"), "reference=one")
    cells = world.plan("world.yaml", methods("one", "three"), "reference=one").cells
    assert len({cell.key for cell in cells}) == 24


def test_planning_touches_nothing_on_disk(world) -> None:
    plan = world.plan()
    estimates(plan)
    plan.check()
    make_manifest(plan)
    assert sorted(path.name for path in world.folder.iterdir()) == ["world.yaml"]


def test_the_estimate_of_published_grids(world) -> None:
    """Linear APE, 558,128 rows, batch 16,384, 768 -> 384, one epoch: 14,675.9 GFLOP (the authors' notes)."""
    data = "data={kind: shapes, rows: 558128, image: {vit_s: 384}, text: {t5: 768}}"
    plan = world.plan(
        "world.yaml", data, "methods={ape: {epochs: 1, batch_size: 16384}}", "reference=ape", "seeds=[0, 1, 2]"
    )
    found = estimates(plan)["ape"]
    assert found.flops is not None
    assert found.flops["connector"] + found.flops["logits"] == pytest.approx(14675.9e9, rel=1e-5)
    assert (found.cells, found.done, found.updates_per_pair) == (3, 0, 558128 // 16384)
    assert found.trained_params == 768 * 384 + 384 + 1


def test_per_seed_cost_does_not_depend_on_the_number_of_seeds(world) -> None:
    one, three = (estimates(world.plan("world.yaml", f"seeds={seeds}")) for seeds in ([0], [0, 1, 2]))
    for label in one:
        assert one[label].flops == three[label].flops
        assert three[label].cells == 3 * one[label].cells


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("methods.ape.epochs=null", ":7: methods.ape: has no budget (give "),
        ("methods.ape.flops=1e9", ":7: methods.ape: two budgets: epochs, flops (give one of them)"),
        ("methods.ape.learning_rate=1", ":7: methods.ape: unknown key 'learning_rate'"),
        ("methods.ape.btch_size=1", ":7: methods.ape: unknown key 'btch_size' (did you mean 'batch_size'"),
        ("methods.ape.lr=fast", ":7: methods.ape.lr: Input should be a valid number"),
        ("methods.ape.warmup=1.5", ":7: methods.ape.warmup: Input should be less than 1"),
        ("methods.hyma.hidden=[]", ":8: methods.hyma: hidden must name at least one layer size"),
        ("methods.ape.method=apee", ":7: methods.ape: unknown method 'apee' (did you mean 'ape'"),
        ("methods.ape.method=math:pi", ":7: methods.ape: 'math:pi' is not a method (write a frozen dataclass)"),
        ("methods.ape.method=harness.method:Batch", ":7: methods.ape: unknown key 'batch_size' (known: captions"),
        ("methods.ape.method=harness.errors:Diverged", ":7: methods.ape: 'harness.errors:Diverged' is not a method"),
        ("connector.loss=infonce", "connector.loss: unknown loss 'infonce' (did you mean 'info_nce'?)"),
        ("selection.metric=text_to_image_r2", ":5: selection.metric: unknown metric 'text_to_image_r2' of task"),
        ("data.kind=synthetik", ":3: data: unknown dataset kind 'synthetik' (did you mean 'synthetic'?)"),
        ("data.row=3", "data.row: unknown key 'row' (did you mean 'rows'?)"),
        ("data.seed=-3", ":4: data.seed: Input should be greater than or equal to 0, got -3"),
        ("image_encoders=[image0]", "image_encoders: the data holds no image embeddings of 'image0' (did you mean"),
        ("tasks=[retrieval, {kind: zero_shot, classes: imagenot}]", "unknown class names 'imagenot' (did you mean"),
    ],
)
def test_what_a_plan_cannot_be_made_of_is_one_line(world, override: str, told: str) -> None:
    with pytest.raises(HarnessError) as caught:
        world.plan("world.yaml", override)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("methods.ape.batch_size=281", ":7: methods.ape: batch_size 281 is larger than the 280 training images"),
        ("methods.hyma.pairs_per_step=7", ":8: methods.hyma: pairs_per_step 7 is larger than the 6 pairs"),
        ("data.split={train: 0.8, validation: 0.2, test: 0}", ":3: data: the test split is empty"),
    ],
)
def test_what_would_stop_a_cell_is_found_by_the_check(world, override: str, told: str) -> None:
    plan = world.plan("world.yaml", override)
    with pytest.raises(HarnessError) as caught:
        plan.check()
    assert told in str(caught.value)


def test_the_manifest_holds_resolved_configs_and_facts(finished) -> None:
    plan = finished.plan()
    manifest = plan.store.manifest()
    assert manifest.methods["hyma"].config["condition_dim"] == Hyma().condition_dim, "defaults are filled in"
    assert manifest.methods["ape"].budget == {"epochs": 3}
    assert manifest.rows == make_manifest(plan).rows
    assert manifest.rows["train"] + manifest.rows["validation"] + manifest.rows["test"] == 400
    assert [e.dim for e in manifest.image_encoders] == [12, 20, 12]
    assert manifest.elapsed_s is not None
    assert manifest.elapsed_s > 0
    assert manifest.provenance["versions"]["torch"]


def test_the_latency_of_an_encoder_is_the_stated_one_or_else_the_measured(world, tmp_path) -> None:
    facts = "image_encoders=[{id: 'synthetic:8', seconds_per_sample: 0.25}, 'synthetic:9']"
    (tmp_path / "m.csv").write_text("image,caption\n" + "".join(f"{n}.png,number {n}\n" for n in range(12)))
    for n in range(12):
        Image.new("RGB", (8, 8), (20 * n, 0, 0)).save(tmp_path / f"{n}.png")
    data = f"data={{kind: manifest, file: '{tmp_path / 'm.csv'}', captions: [caption]}}"
    plan = world.plan("world.yaml", facts, data, "text_encoders=['synthetic:7']")
    before = [encoder.latency for encoder in make_manifest(plan).image_encoders]
    assert [latency and latency.seconds_per_sample for latency in before] == [0.25, None]
    plan.workspace.extract_missing()
    stated, measured = (encoder.latency for encoder in make_manifest(plan).image_encoders)
    assert stated is not None
    assert measured is not None
    assert (stated.seconds_per_sample, stated.device) == (0.25, None)
    assert 0 < measured.seconds_per_sample < 0.25
    assert (measured.device, measured.batch_size) == ("cpu", 64)
