"""Bad input: one line that says what, where and what to do, exit code 2, nothing half-written."""

import numpy as np
import pytest

from tests.pictures import captioned_pictures
from tests.stored import rewrite


def written(project) -> list[str]:
    """Folders and files that a command left below the storage folder."""
    return sorted(str(path.relative_to(project.folder)) for path in (project.folder / "runs").rglob("*"))


@pytest.mark.parametrize("verb", ["sweep", "plan", "embed", "validate"])
def test_a_sweep_file_that_is_not_there(temp_project, refused, verb: str) -> None:
    assert refused(temp_project, verb, "none.yaml") == "none.yaml: no such sweep file (see harness ls sweeps)"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("sedes=[1]", "--set sedes: unknown key 'sedes' (did you mean 'seeds'"),
        ("image_encoders=[image00, image00]", "image_encoders: encoder 'image00' stands twice"),
        ("image_encoders=[]", "image_encoders: the list is empty: there would be zero pairs"),
        ("methods.ape.batch_size=281", "methods.ape: batch_size 281 is larger than the 280 training images (set batch"),
        ("methods.hyma.pairs_per_step=7", "methods.hyma: pairs_per_step 7 is larger than the 6 pairs (set pairs_per"),
        ("methods.ridge={epochs: 5}", "methods.ridge: takes no budget, but epochs is given (leave it out)"),
        ("methods.cka={flops: 1.0e+9}", "methods.cka: takes no budget, but flops is given (leave it out)"),
        (
            "storage=ftp://host/run",
            "storage: storage 'ftp://host/run' cannot be used: ftp:// is no bucket that is known (a f",
        ),
        ("data={kind: shapes, rows: 900, image: {a: 8}, text: {b: 4}}", "data.kind: data of kind shapes holds no data"),
        ("data.split={train: 0.9, validation: 0.1, test: 0}", "data: the test split is empty (give it rows)"),
        (
            "selection.constraints={image_dim: 99}",
            "selection.constraints: none of the 6 pairs can meet the constraints (loosen them, or state params or",
        ),
        ("selection.constraints={licenses: [mit]}", "selection.constraints: none of the 6 pairs can meet the constr"),
        (
            "selection.constraints={image_dim: 20, max_image_params: 1.0e+6}",
            "selection.constraints: none of the 6 pairs can meet",
        ),
        (
            "data.split={train: 0.9, validation: 0.2, test: 0}",
            "data.split: train + validation + test must be 1, got 1.1",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["sweep", "validate"])
def test_a_mistake_is_found_before_anything_is_written(world, refused, verb: str, override: str, told: str) -> None:
    assert told in refused(world, verb, "world.yaml", "--set", override)
    assert written(world) == []


def test_constraints_are_judged_by_what_is_known(world, refused) -> None:
    def limited(limits: str, facts: str = "") -> tuple[str, ...]:
        encoders = ("--set", f"image_encoders=[image00, {{id: image01{facts}}}]")
        return ("plan", "world.yaml", "--set", f"selection.constraints={limits}", *encoders)

    assert "none of the 4 pairs can meet" in refused(world, *limited("{max_image_params: 1.0e+6}"))
    assert world.invoke(*limited("{max_image_params: 1.0e+6}", ", params: 2.0e+5"))[0] == 0
    assert "none of the 4 pairs can meet" in refused(world, *limited("{max_image_params: 1.0e+5}", ", params: 2.0e+5"))
    assert world.invoke(*limited("{max_encode_latency_ms: 2}"))[0] == 0, "extraction may tell"
    assert world.invoke(*limited("{max_encode_flops: 1.0e+9}", ", seconds_per_sample: 1"))[0] == 0


def test_options_that_name_nothing(world, refused) -> None:
    assert refused(world, "sweep", "world.yaml", "--backend", "rya") == "unknown backend 'rya' (did you mean 'ray'?)"
    assert refused(world, "sweep", "world.yaml", "--methods", "hymo") == "unknown method 'hymo' (did you mean 'hyma'?)"
    assert "seeds.0: Input should be a valid integer" in refused(world, "sweep", "world.yaml", "--seeds", "one")
    told = refused(world, "plan", "world.yaml", "--storage", "ftp://host/run")
    assert "ftp:// is no bucket that is known" in told
    assert written(world) == []


def test_shapes_can_be_planned_and_not_embedded(world, refused) -> None:
    shapes = (
        "--set",
        "data={kind: shapes, rows: 900, image: {a: 8}, text: {b: 4}}",
        "--set",
        "methods.hyma.pairs_per_step=1",
    )
    assert world.invoke("plan", "world.yaml", *shapes)[0] == 0
    assert "use harness plan" in refused(world, "embed", "world.yaml", *shapes)
    assert written(world) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"a": None}, "a.npy: no such file"),
        ({"a": np.zeros((0, 8))}, "the dataset is empty: no image rows"),
        (
            {"b": np.ones((299, 6))},
            "one caption short: 60 image rows (a) x 5 captions per image, but 299 text rows (b)",
        ),
        ({"b": np.ones((250, 6))}, "60 image rows (a) x 5 captions per image, but 250 text rows (b)"),
        ({"a": np.ones((60, 8), dtype=int)}, "a.npy: must hold floats, holds int64"),
        ({"a": np.ones(60)}, "a.npy: must be [rows, dim], is [60]"),
    ],
    ids=["missing", "empty", "one short", "counts", "integers", "vector"],
)
@pytest.mark.parametrize("verb", ["sweep", "validate"])
def test_embeddings_that_do_not_fit(own, refused, verb: str, change, told: str) -> None:
    for name, array in change.items():
        path = own.folder / f"{name}.npy"
        path.unlink() if array is None else np.save(path, array)
    assert told in refused(own, verb, "own.yaml")
    assert written(own) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_an_embedding_is_named_with_its_row(own, refused, value: float) -> None:
    array = np.load(own.folder / "b.npy")
    array[217, 3] = value
    np.save(own.folder / "b.npy", array)
    told = refused(own, "sweep", "own.yaml", quiet=False)
    assert told == "text encoder 'b': row 217 holds NaN or infinity (repair or drop that row)"
    assert not (own.folder / "runs" / "own").exists(), "no run was begun"
    assert not list(own.folder.glob("runs/banks/*/text-*/meta.json")), "and no bank"
    array[217, 3] = 0.5
    np.save(own.folder / "b.npy", array)
    assert own.invoke("embed", "own.yaml")[0] == 0


def test_a_bank_whose_description_is_damaged_is_refused(own, refused) -> None:
    assert own.invoke("embed", "own.yaml")[0] == 0
    (bank,) = own.folder.glob("runs/banks/*/image-*")
    for damage in ("{", "[]", "{}"):
        (bank / "meta.json").write_text(damage)
        assert refused(own, "plan", "own.yaml").startswith(f"{bank / 'meta.json'}: damaged: ")


@pytest.mark.parametrize(("schema", "age"), [(1, "an older"), (3, "a newer")])
def test_a_run_of_another_schema_is_named(copy_of_world, refused, schema: int, age: str) -> None:
    manifest = copy_of_world.folder / "runs" / "world" / "manifest.json"
    rewrite(manifest, {"schema_version": schema})
    for command in (("status", "world"), ("report", "world"), ("sweep", "world.yaml")):
        told = refused(copy_of_world, *command)
        assert f"is of schema {schema}, from {age} version; this one reads 2 (make a new run" in told


PICTURES = """
    name: pictures
    data: {kind: manifest, file: rows.csv, split: {train: 0.5, validation: 0.25, test: 0.25}}
    image_encoders: ["synthetic:8"]
    text_encoders: ["synthetic:6"]
    methods: {ape: {epochs: 1, batch_size: 8}}
    storage: runs
"""


@pytest.fixture
def pictures(temp_project):
    """Forty little pictures with a caption each."""
    captioned_pictures(temp_project.folder, 40, 8, caption="picture number")
    temp_project.write("pictures.yaml", PICTURES)
    return temp_project


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (None, "rows.csv: no such file"),
        ("image,caption\n", "rows.csv: the dataset is empty: no rows"),
        ("", "rows.csv: the dataset is empty: no rows"),
        ("image,caption\n0.png,one\n1.png,\n", "one caption short: line 3, column 'caption' holds no caption"),
        ("image,text\n0.png,one\n", "no column 'caption'"),
        ("image,caption\n0.png,one\nnone.png,two\n", "1 of 2 images cannot be read: none.png"),
    ],
    ids=["missing", "empty", "nothing", "one caption short", "column", "image missing"],
)
@pytest.mark.parametrize("verb", ["sweep", "validate"])
def test_a_table_that_is_wrong(pictures, refused, verb: str, rows: str | None, told: str) -> None:
    path = pictures.folder / "rows.csv"
    path.unlink() if rows is None else path.write_text(rows)
    assert told in refused(pictures, verb, "pictures.yaml")
    assert written(pictures) == []


def test_an_unreadable_image_is_counted_named_and_skipped_only_on_demand(pictures, refused) -> None:
    (pictures.folder / "7.png").write_bytes(b"not a picture")
    (pictures.folder / "9.png").write_bytes((pictures.folder / "9.png").read_bytes()[:60])
    told = refused(pictures, "sweep", "pictures.yaml", quiet=False)
    assert "2 of 40 images cannot be read: 7.png, 9.png (repair them, or set skip_unreadable: true" in told
    assert not (pictures.folder / "runs" / "pictures").exists()
    plan, store = pictures.run("pictures.yaml", "data.skip_unreadable=true")
    manifest = store.manifest()
    assert manifest.rows["skipped"] == 2
    assert sum(manifest.rows[split] for split in ("train", "validation", "test")) == 38
    assert plan.resolved.index.skipped == ("7.png", "9.png")


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        ("synthetic", "encoder id 'synthetic' is not written scheme:name (schemes: "),
        ("tim:resnet18", "unknown encoder scheme 'tim' (did you mean 'timm'?)"),
        ("{id: 'synthetic:8', dim: 9}", "dimension"),
        ("{id: 'synthetic:8', sede: 9}", "synthetic:8: unknown option 'sede' (did you mean 'seed'?)"),
    ],
)
def test_an_encoder_that_does_not_resolve(pictures, refused, encoder: str, told: str) -> None:
    assert told in refused(pictures, "validate", "pictures.yaml", "--set", f"image_encoders=[{encoder}]")


def test_a_run_that_is_not_there(copy_of_world, refused) -> None:
    for verb in ("status", "report"):
        assert "did you mean 'world'?" in refused(copy_of_world, verb, "wrld")


def test_a_place_that_cannot_be_written_is_one_line(world, refused) -> None:
    (world.folder / "file").write_text("in the way")
    told = refused(world, "sweep", "world.yaml", "--storage", "file", quiet=False)
    assert "Not a directory" in told


def test_bad_input_in_a_process_of_its_own(temp_project) -> None:
    done = temp_project.harness("sweep", "none.yaml", code=2)
    assert done.stdout == ""
    assert done.stderr == "error: none.yaml: no such sweep file (see harness ls sweeps)\n"
