"""Options as a user may write them: what names nothing, or one thing twice, is one line and changes nothing."""

import json

import pytest


def content(project) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (project.folder / "runs").rglob("*") if path.is_file()}


@pytest.mark.parametrize("methods", ["", ",", " , "])
def test_no_method_is_not_all_methods(copy_of_world, refused, methods: str) -> None:
    before = content(copy_of_world)
    told = refused(copy_of_world, "sweep", "world.yaml", "--backend", "serial", "--methods", methods)
    assert told == f"no method is named in {methods!r} (known: ape, hyma)"
    assert content(copy_of_world) == before


def test_methods_may_stand_with_blanks_and_twice(copy_of_world) -> None:
    code, _, err = copy_of_world.invoke("sweep", "world.yaml", "--backend", "serial", "--methods", " hyma , hyma,")
    assert code == 0
    assert "nothing to run: 14 of 14 cells are done" in err


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ("", "seeds: List should have at least 1 item"),
        ("0,0", "seeds: a seed stands twice: [0, 0]"),
        ("3,1,3", "seeds: a seed stands twice: [3, 1, 3]"),
        ("-1", "seeds.0: Input should be greater than or equal to 0, got -1"),
        ("0,1.5", "seeds.1: Input should be a valid integer"),
        ("0 1", "seeds.0: Input should be a valid integer"),
        ("[0]", "seeds.0: Input should be a valid integer"),
    ],
)
@pytest.mark.parametrize("verb", ["plan", "validate", "sweep"])
def test_seeds_that_are_none(world, refused, verb: str, seeds: str, told: str) -> None:
    assert told in refused(world, verb, "world.yaml", "--seeds", seeds)
    assert not (world.folder / "runs").exists()


def test_seeds_instead_of_the_files(world) -> None:
    """A large seed is as good as a small one, and a comma at the end is forgiven."""
    code, out, err = world.invoke("plan", "world.yaml", "--json", "--seeds", "7,123456789012345678901234567890,")
    assert (code, err) == (0, "")
    methods = json.loads(out)["methods"]
    assert {label: method["cells"] for label, method in methods.items()} == {"ape": 12, "hyma": 2}


@pytest.mark.parametrize(
    "names", [("world", "world"), ("world", "runs/world"), ("world", "runs/../runs/world"), ("world", "other", "world")]
)
def test_a_run_is_not_compared_with_itself(copy_of_world, refused, names: tuple[str, ...]) -> None:
    runs = copy_of_world.folder / "runs"
    (runs / "other").mkdir()
    (runs / "other" / "manifest.json").write_bytes((runs / "world" / "manifest.json").read_bytes())
    told = refused(copy_of_world, "compare", *names)
    assert told == "the run 'world' is named twice (name every run once)"


def test_a_run_cannot_lie_where_the_banks_are(world, refused) -> None:
    told = refused(world, "sweep", "world.yaml", "--set", "name=banks")
    assert "name: a run cannot be called 'banks': that folder of the storage holds the banks" in told
    assert world.invoke("plan", "world.yaml", "--set", "name=banks2")[0] == 0
    assert not (world.folder / "runs").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "-x", ".x", "x\n", "null", "[x]", "é"])
def test_a_name_that_is_no_folder(world, refused, name: str) -> None:
    told = refused(
        world, "plan", "world.yaml", "--set", f"name={json.dumps(name) if name not in ('null', '[x]') else name}"
    )
    assert told.startswith("--set name: ")
    assert not (world.folder / "runs").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("methods.ape.epochs", "--set 'methods.ape.epochs' is not written field=value"),
        ("=3", "--set '=3' is not written field=value"),
        ("name.x=1", "--set 'name.x=1': there is no field 'x'"),
        ("seeds.5=1", "--set 'seeds.5=1': there is no field '5'"),
        ("seeds.0.x=1", "--set 'seeds.0.x=1': there is no field 'x'"),
        ("name.x.y=1", "--set 'name.x.y=1': there is no field 'x' to go into"),
        ("methods.ape.lr=[", "--set 'methods.ape.lr=[': the value is not valid YAML"),
        ("methods..lr=1", "methods"),
        ("methods.ape..=1", "unknown key ''"),
    ],
)
def test_a_field_that_cannot_be_set(world, refused, text: str, told: str) -> None:
    assert told in refused(world, "plan", "world.yaml", "--set", text)


def test_the_last_of_two_settings_counts_and_a_list_entry_can_be_set(world) -> None:
    asked = ("--set", "methods.ape.epochs=1", "--set", "methods.ape.epochs=2", "--set", "seeds.1=9")
    code, out, err = world.invoke("plan", "world.yaml", "--json", *asked)
    assert (code, err) == (0, "")
    assert json.loads(out)["methods"]["ape"]["updates_per_pair"] == 2 * 4, "four batches of 64 from 280 images"
    plan = world.plan("world.yaml", *asked[1::2])
    assert plan.sweep.seeds == [0, 9]


@pytest.mark.parametrize(
    "command",
    [
        ("status", "nothing"),
        ("report", "nothing"),
        ("export", "nothing", "--method", "ape", "--out", "x"),
        ("compare", "nothing", "world"),
    ],
    ids=lambda command: command[0],
)
def test_a_run_that_is_nowhere_names_the_nearest(copy_of_world, refused, command: tuple[str, ...]) -> None:
    told = refused(copy_of_world, *command)
    assert told.startswith("no run 'nothing': neither a folder with a manifest.json nor a name below runs/ (")
    assert "world" in told
    assert not (copy_of_world.folder / "x").exists()


def test_without_any_run_the_hint_is_how_to_make_one(temp_project, refused) -> None:
    assert refused(temp_project, "report", "x").endswith("(run harness sweep SWEEP first)")


def test_an_export_goes_into_folders_that_are_made_and_never_into_one_in_use(finished, refused, tmp_path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    assert finished.invoke("export", "world", "--method", "ape", "--out", str(deep))[0] == 0
    before = {path.name: path.read_bytes() for path in deep.iterdir()}
    told = refused(finished, "export", "world", "--method", "hyma", "--out", str(deep))
    assert told == f"{deep}: is there already (name a folder that does not exist)"
    assert {path.name: path.read_bytes() for path in deep.iterdir()} == before
    empty = tmp_path / "empty"
    empty.mkdir()
    assert finished.invoke("export", "world", "--method", "ape", "--out", str(empty))[0] == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("verb", ["sweep", "plan", "embed", "status", "report", "compare", "ls", "validate", "export"])
def test_every_verb_explains_itself(temp_project, verb: str) -> None:
    for flag in ("-h", "--help"):
        code, out, _ = temp_project.invoke(verb, flag)
        assert code == 0
        assert f"harness {verb} [OPTIONS]" in out
    code, out, _ = temp_project.invoke("-h")
    assert code == 0
    assert verb in out
