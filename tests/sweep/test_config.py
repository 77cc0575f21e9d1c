"""The sweep file: what is read, and how mistakes in it are told."""

import json
from pathlib import Path

import pytest
import yaml

from harness.connectors.linear import Linear
from harness.connectors.low_rank import LowRank
from harness.connectors.mlp import Mlp
from harness.contract.connector import ConnectorKind
from harness.errors import HarnessError
from harness.sweep.config import Sweep
from harness.sweep.loading import load_sweep
from harness.sweep.located import place
from harness.sweep.resolve import ResolvedSweep

MINIMAL = """\
name: tiny
data: {kind: synthetic, rows: 100, image_encoders: 2, text_encoders: 2}
methods:
  ape: {epochs: 2, batch_size: 16}
"""


def refused(project, text: str, *overrides: str) -> str:
    """The one line that a wrong sweep file is answered with."""
    path = project.write("s.yaml", text)
    with pytest.raises(HarnessError) as caught:
        ResolvedSweep(load_sweep(path, overrides=overrides))
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path), "s.yaml")


def test_defaults_are_filled_in(temp_project) -> None:
    sweep = load_sweep(temp_project.write("s.yaml", MINIMAL))
    assert sweep.seeds == [0]
    assert sweep.selection.metric == "text_to_image_r5"
    assert [task.label for task in sweep.tasks] == ["retrieval"]
    method = sweep.methods["ape"]
    assert (method.method, method.budget, method.config) == ("ape", {"epochs": 2}, {"batch_size": 16})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("name: tiny\n  data: 1\n", "s.yaml:2: not valid YAML: mapping values are not allowed here"),
        (MINIMAL + "sedes: [1]\n", "s.yaml:5: sedes: unknown key 'sedes' (did you mean 'seeds'"),
        (MINIMAL + "name: again\n", "s.yaml:5: key 'name' stands twice"),
        (MINIMAL.replace("epochs: 2", "epochs: 2, epochs: 3"), "s.yaml:4: key 'epochs' stands twice"),
        (MINIMAL + "seeds: [1, 2, 1]\n", "s.yaml:5: seeds: a seed stands twice: [1, 2, 1]"),
        (MINIMAL + "seeds: [one]\n", "s.yaml:5: seeds.0: Input should be a valid integer"),
        (MINIMAL + "seeds: []\n", "s.yaml:5: seeds: List should have at least 1 item"),
        (
            MINIMAL + "image_encoders: [timm:a, st:b, timm:a]\n",
            "s.yaml:5: image_encoders: encoder 'timm:a' stands twice",
        ),
        (MINIMAL + "sample: {train: 0}\n", "s.yaml:5: sample.train: Input should be greater than 0"),
        (MINIMAL + "sample: {tain: 9}\n", "s.yaml:5: sample.tain: unknown key 'tain'"),
        (MINIMAL + "pick: {keep: 2}\n", "s.yaml:5: pick.keep: Input should be less than or equal to 1"),
        (MINIMAL + "pick: {frist: 9}\n", "s.yaml:5: pick.frist: unknown key 'frist' (did you mean 'first'"),
        (MINIMAL + "text_encoders: []\n", "s.yaml:5: text_encoders: the list is empty: there would be zero pairs"),
        (MINIMAL + "reference: aqe\n", "s.yaml:5: reference: 'aqe' is not one of the methods; did you mean 'ape'?"),
        (
            MINIMAL + "selection:\n  task: retreival\n  metric: top1\n",
            "s.yaml:6: selection: task 'retreival' is not one of the tasks; did you mean 'retrieval'?",
        ),
        (MINIMAL + "tasks: [retrieval, retrieval]\n", "s.yaml:5: tasks: two tasks have the same label"),
        (
            MINIMAL + "tasks: [{kind: retrieval, clases: x}]\n",
            "s.yaml:5: tasks.0: unknown key 'clases' (did you",
        ),
        (
            MINIMAL + "tasks: [retrieval, {kind: zero_shot, clases: x}]\n",
            "s.yaml:5: tasks.1: unknown key 'clases' (did you mean 'classes'",
        ),
        (
            MINIMAL + "tasks: [{kind: retreival, label: retrieval}]\n",
            "s.yaml:5: tasks.0.kind: unknown task 'retreival' (did you mean 'retrieval'?)",
        ),
        (
            MINIMAL + "connector: {hidden_layer: 1}\n",
            "s.yaml:5: connector: unknown key 'hidden_layer' (did you mean 'hidden_layers'",
        ),
        (MINIMAL + "connector: {kind: mpl}\n", "s.yaml:5: connector: unknown connector kind 'mpl' (did you mean 'mlp'"),
        (
            MINIMAL + "connector: {kind: low_rank, width: 8}\n",
            "s.yaml:5: connector: unknown key 'width'",
        ),
        (
            MINIMAL + "connector: {kind: low_rank, rank: 0}\n",
            "s.yaml:5: connector.rank: Input should be greater than 0, got 0",
        ),
        (MINIMAL + "connector: {kind: linear, hidden_layers: 1}\n", "s.yaml:5: connector: unknown key 'hidden_layers'"),
        (
            MINIMAL + "connector: {loss: info_ncf}\n",
            "s.yaml:5: connector.loss: unknown objective 'info_ncf' (did you mean 'info_nce'?)",
        ),
        (
            MINIMAL.replace("epochs: 2", "epochs: 0"),
            "s.yaml:4: methods.ape.epochs: Input should be greater than 0, got 0",
        ),
        (
            MINIMAL.replace("epochs: 2", "epochs: 2, resources: {cpus: 1}"),
            "s.yaml:4: methods.ape.resources.cpus: unknown key 'cpus' (did you mean 'cpu'",
        ),
        (MINIMAL.replace("tiny", "a/b"), "s.yaml:1: name: String should match pattern"),
        (MINIMAL.replace("data:", "dta:"), "s.yaml:2: dta: unknown key 'dta' (did you mean 'data'"),
        (MINIMAL.replace("name: tiny\n", ""), "s.yaml: name: is missing"),
        ("- a\n- b\n", "s.yaml: is not a mapping of fields"),
        ("", "s.yaml: is not a mapping of fields"),
        (
            MINIMAL + "x: !!python/object/apply:os.system [ls]\n",
            "s.yaml:5: not valid YAML: could not determine a constructor",
        ),
        (MINIMAL + "? [a, b]\n: c\n", "s.yaml:5: a key must be a word"),
        (MINIMAL + "x: &x [*x]\n", "s.yaml: not valid YAML: a value holds itself"),
        (MINIMAL + "x: 2024-13-45\n", "s.yaml: not valid YAML: month must be in 1..12"),
        (MINIMAL + "x: \x00\n", "s.yaml: not valid YAML: unacceptable character"),
    ],
)
def test_a_mistake_is_one_line_with_file_line_and_field(temp_project, wrong: str, told: str) -> None:
    assert refused(temp_project, wrong).startswith(told)


def test_a_file_that_is_not_there_or_not_text(temp_project) -> None:
    with pytest.raises(HarnessError, match="no such sweep file"):
        load_sweep(temp_project.folder / "none.yaml")
    path = temp_project.folder / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(HarnessError, match="is not a text file"):
        load_sweep(path)


def test_set_replaces_creates_and_indexes(temp_project) -> None:
    path = temp_project.write("s.yaml", MINIMAL + "image_encoders: [timm:a, {id: timm:b, dim: 8}]\n")
    sweep = load_sweep(
        path,
        overrides=[
            "methods.ape.epochs=null",
            "methods.ape.updates_per_pair=1e2",
            "methods.hyma.epochs=5",
            "connector.hidden_layers=2",
            "seeds=[3, 4]",
            "image_encoders.1.dim=16",
            "image_encoders.0=timm:c",
            "data.rows=7",
        ],
    )
    assert sweep.methods["ape"].budget == {"updates_per_pair": 100.0}
    assert sweep.methods["hyma"].budget == {"epochs": 5}
    assert sweep.connector.settings == {"hidden_layers": 2}
    assert sweep.seeds == [3, 4]
    assert [(e.id, e.dim) for e in sweep.image_encoders or []] == [("timm:c", None), ("timm:b", 16)]
    assert sweep.data["rows"] == 7


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seeds", "--set 'seeds' is not written field=value"),
        ("=3", "--set '=3' is not written field=value"),
        ("seeds=[1", "--set 'seeds=[1': the value is not valid YAML"),
        ("name.first=x", "--set 'name.first=x': there is no field 'first'"),
        ("sedes=[1]", "s.yaml: sedes: unknown key 'sedes' (did you mean 'seeds'"),
        ("methods.ape.epochs=-1", "s.yaml:4: methods.ape.epochs: Input should be greater than 0, got -1"),
    ],
)
def test_a_wrong_set_is_one_line(temp_project, override: str, told: str) -> None:
    assert refused(temp_project, MINIMAL, override).startswith(told)


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_a_json_file_says_the_same_as_yaml(temp_project, indent) -> None:
    values = yaml.safe_load(MINIMAL) | {"seeds": [1, 2]}
    values["methods"]["ape"]["lr"] = 1e-05  # json writes 1e-05, which YAML 1.1 reads as a string
    path = temp_project.folder / "s.json"
    path.write_text(json.dumps(values, indent=indent))
    from_json = load_sweep(path)
    from_yaml = load_sweep(temp_project.write("s.yaml", MINIMAL), overrides=["seeds=[1, 2]", "methods.ape.lr=0.00001"])
    assert from_json.seeds == from_yaml.seeds
    assert float(from_json.methods["ape"].config["lr"]) == from_yaml.methods["ape"].config["lr"]


def test_numbers_that_yaml_takes_for_strings_are_numbers(world) -> None:
    world.write("world.yaml", (world.folder / "world.yaml").read_text().replace("1.0e-2", "1e-2"))
    for ready in world.plan().methods.values():
        assert ready.method.lr == 0.01  # type: ignore[attr-defined]


def test_storage_is_relative_to_the_sweep_file(temp_project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = temp_project.write("sub/s.yaml", MINIMAL)
    monkeypatch.chdir(temp_project.folder)
    assert load_sweep(path).storage_path == temp_project.folder / "runs"
    assert load_sweep(path, overrides=["storage=../out"]).storage_path == temp_project.folder / "out"
    with pytest.raises(HarnessError, match=r"storage 's3://bucket/x': this needs a folder .give --storage FOLDER."):
        _ = load_sweep(path, overrides=["storage=s3://bucket/x"]).storage_path


@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://bucket", "az://container/a/b", "abfs://c@account.dfs.core/x"])
def test_storage_may_be_a_bucket(temp_project, url: str) -> None:
    sweep = load_sweep(temp_project.write("s.yaml", MINIMAL), overrides=[f"storage={url}/"])
    assert sweep.storage_place == url
    assert sweep.run_place == f"{url}/{sweep.name}"


def test_place_names_the_line_of_the_deepest_field_there(temp_project) -> None:
    path = temp_project.write("s.yaml", MINIMAL + "image_encoders:\n  - timm:a\n  - timm:b\n")
    assert place(path, "methods.ape.lr") == f"{path}:4: methods.ape.lr"
    assert place(path, "image_encoders.1") == f"{path}:7: image_encoders.1"
    assert place(path, "nowhere") == f"{path}: nowhere"
    assert place(temp_project.folder / "none.yaml", "seeds") == "seeds"


LADDER = "name: x\ndata: {kind: packaged}\nmethods:\n  ape: {method: ape, lr: 0.1, ladder: LADDER}\n"


def _with_ladder(tmp_path: Path, ladder: str, *overrides: str) -> Sweep:
    path = tmp_path / "s.yaml"
    path.write_text(LADDER.replace("LADDER", ladder))
    return load_sweep(path, overrides=overrides)


def test_a_ladder_is_one_method_per_value(tmp_path: Path) -> None:
    sweep = _with_ladder(tmp_path, "{epochs: [1, 2.5, 16]}", "reference=ape@16")
    assert list(sweep.methods) == ["ape@1", "ape@2.5", "ape@16"]
    assert [entry.budget for entry in sweep.methods.values()] == [{"epochs": 1}, {"epochs": 2.5}, {"epochs": 16}]
    assert all(entry.method == "ape" and entry.config == {"lr": 0.1} for entry in sweep.methods.values())
    # A manifest stores the sweep as it was resolved; a worker reads that again.
    assert Sweep.model_validate(sweep.model_dump(mode="json")).methods == sweep.methods


def test_a_ladder_can_be_of_seconds_and_overridden(tmp_path: Path) -> None:
    sweep = _with_ladder(tmp_path, "{seconds: [1]}", "methods.ape.ladder.seconds=[3, 9]")
    assert [entry.budget for entry in sweep.methods.values()] == [{"seconds": 3}, {"seconds": 9}]


@pytest.mark.parametrize(
    ("ladder", "message"),
    [
        ("{epochs: [1, 1]}", "a ladder's epochs must be a list of different numbers"),
        ("{epochs: []}", "a ladder's epochs must be a list of different numbers"),
        ("{epochs: 3}", "a ladder's epochs must be a list of different numbers"),
        ("{epoch: [1]}", "a ladder is one of epochs, updates_per_pair, flops, seconds"),
        ("[1, 2]", "a ladder is one of"),
        ("{epochs: [1]}, epochs: 3", "give a ladder or epochs, not both"),
    ],
)
def test_a_wrong_ladder_is_refused(tmp_path: Path, ladder: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        _with_ladder(tmp_path, ladder)


@pytest.mark.parametrize(
    ("connector", "expected"),
    [
        ("{}", Linear()),
        ("{hidden_layers: 0, width: 64}", Linear()),
        ("{kind: linear, hidden_layers: 0, width: 64}", Linear()),
        ("{hidden_layers: 2, width: 64}", Mlp(hidden_layers=2, width=64)),
        ("{kind: mlp}", Mlp(hidden_layers=1, width=1024)),
        ("{kind: low_rank, rank: 8}", LowRank(rank=8)),
    ],
)
def test_the_connector_of_a_sweep(temp_project, connector: str, expected: ConnectorKind) -> None:
    path = temp_project.write("s.yaml", MINIMAL + f"connector: {connector}\n")
    assert ResolvedSweep(load_sweep(path)).connector == expected
