"""What there is to set, whose mistake it is, and tables on narrow screens."""

import json
import re

import jsonschema
import pytest

from harness.cli.plan_costs import duration, matrix_rate
from harness.cli.tables import fitted
from harness.encoders.devices import check_device
from harness.errors import HarnessError


def test_one_method_is_listed_with_every_setting(temp_project) -> None:
    code, out, err = temp_project.invoke("ls", "method", "winner", "--json")
    assert (code, err) == (0, "")
    settings = {row["name"]: row for row in json.loads(out)}
    assert settings["finalists"] == {
        "name": "finalists",
        "type": "integer > 0",
        "default": "3",
        "about": "Pairs that are looked at again at most.",
    }
    code, out, _ = temp_project.invoke("ls", "methods", "ape")
    assert code == 0
    assert out.startswith("ape: One connector per pair")
    assert "budget, one of them: epochs, updates_per_pair, flops, seconds" in out
    assert "no settings" in temp_project.invoke("ls", "connector", "linear")[1]
    assert "captions_per_image" in temp_project.invoke("ls", "dataset", "precomputed")[1]


def test_part_of_a_name_lists_what_has_it(temp_project) -> None:
    rows = json.loads(temp_project.invoke("ls", "methods", "stacked", "--json")[1])
    assert [row["name"] for row in rows] == ["ape_stacked"]
    rows = json.loads(temp_project.invoke("ls", "encoders", "packaged:*lite*", "--json")[1])
    assert [row["name"] for row in rows] == [f"packaged:efficientnet_lite{n}" for n in range(3)]
    assert {(row["dim"], row["license"]) for row in rows} == {(1280, "Apache-2.0")}
    assert all(row["params"] > 3e6 for row in rows)


def test_many_encoders_are_a_line_per_scheme(temp_project) -> None:
    code, out, _ = temp_project.invoke("ls", "encoders")
    assert code == 0
    assert len(out.splitlines()) < 30
    assert re.search(r"timm\s+│ image\s+│\s+1\d{3}", out)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("ls", "metods"), "there are no 'metods' to list (did you mean 'methods' or 'encoders' or 'connectors'?)"),
        (("ls", "methods", "zz"), "no method matches 'zz' (harness ls methods)"),
    ],
)
def test_what_cannot_be_listed(temp_project, refused, args: tuple[str, ...], told: str) -> None:
    assert refused(temp_project, *args) == told


def test_the_schema_is_one_that_editors_can_use(temp_project) -> None:
    code, out, err = temp_project.invoke("schema")
    assert (code, err) == (0, "")
    jsonschema.Draft202012Validator.check_schema(json.loads(out))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("methods.ape.epochs=-3", "--set methods.ape.epochs: Input should be greater than 0, got -3"),
        ("methods.ape.epoch=3", "--set methods.ape.epoch: unknown key 'epoch' (did you mean 'epochs'?)"),
        ("methods.ape={epoch: 3}", "--set methods.ape: methods.ape.epoch: unknown key 'epoch'"),
        ("data.rows=-1", "--set data.rows: "),
        ("selection.metric=r5", "--set selection.metric: unknown metric 'r5'"),
        ("bank.device=cuda:999", "--set bank.device: this machine has "),
        ("bank.device=gpu7", "--set bank.device: 'gpu7' is no device"),
    ],
)
def test_a_wrong_set_is_not_blamed_on_a_line_of_the_file(world, refused, given: str, told: str) -> None:
    assert refused(world, "validate", "world.yaml", "--set", given).startswith(told)


def test_the_files_own_mistakes_stay_the_files(world, refused) -> None:
    text = (world.folder / "world.yaml").read_text().replace("epochs: 3", "epoch: 3")
    world.write("world.yaml", text)
    told = refused(world, "plan", "world.yaml", "--set", "methods.ape.lr=1.0e-2")
    assert "world.yaml:7: methods.ape: unknown key 'epoch'" in told


def test_a_device_that_is_here_is_taken() -> None:
    check_device("cpu", where="bank.device")
    with pytest.raises(HarnessError, match=r"bank\.device: this machine has"):
        check_device("cuda:123", where="bank.device")


def test_a_run_that_wants_gpus_is_for_a_cluster(world, monkeypatch) -> None:
    monkeypatch.setattr("harness.encoders.devices.gpus_here", lambda: 0)
    code, out, _ = world.invoke("validate", "world.yaml", "--set", "methods.hyma.resources.gpu=1")
    assert code == 0
    assert out.startswith("note: hyma asks for a GPU and this machine has none: for a cluster (--address) only\n")


def test_status_as_json(copy_of_world) -> None:
    next(copy_of_world.folder.glob("runs/world/cells/*.json")).unlink()
    code, out, err = copy_of_world.invoke("status", "world", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["name"], said["cells"], said["finished"], said["reasons"]) == ("world", 14, 13, [])
    assert sum(method["done"] for method in said["methods"].values()) == 13
    assert sum(method["missing"] for method in said["methods"].values()) == 1


def test_watching_through_a_pipe_prints_lines(finished) -> None:
    code, out, _ = finished.invoke("status", "world", "--watch")
    assert code == 0
    assert out.splitlines()[0] == "world: 14 of 14 cells (14 done)"


def test_a_wide_table_goes_on_below_itself_and_cuts_nothing() -> None:
    headers = ["method", *(f"column {number}" for number in range(8))]
    rows = [[name, *(f"{number}.{number}{number} G" for number in range(8))] for name in ("ape", "a long name")]
    tables = fitted("title", headers, rows, 60)
    assert len(tables) == 2
    assert [table.columns[0].header for table in tables] == ["method"] * 2
    shown = [column.header for table in tables for column in table.columns[1:]]
    assert shown == headers[1:]
    assert len(fitted("title", headers, rows, 200)) == 1


def test_plan_fits_eighty_columns_and_names_disk_and_time(world, monkeypatch) -> None:
    monkeypatch.setattr("harness.cli.plan.stdout.width", 80, raising=False)
    code, out, _ = world.invoke("plan", "world.yaml")
    assert code == 0
    assert "…" not in out
    assert re.search(r"^connectors: [\d.]+ k bytes on disk$", out, re.MULTILINE)
    assert re.search(r"^connectors take at least [\d.]+ (s|min) on this machine's \d+ cores: ", out, re.MULTILINE)


def test_connectors_take_the_bytes_that_the_plan_names(finished) -> None:
    """Both methods and both seeds leave one float32 connector for each of the six pairs."""
    out = finished.invoke("plan", "world.yaml")[1]
    planned = float(re.search(r"connectors: ([\d.]+) k bytes", out)[1]) * 1e3  # type: ignore[index]
    params = sum(i * t + i for i in (12, 20, 12) for t in (8, 16))
    assert planned == pytest.approx(4 * params * 2 * 2, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.5, "0.5 s"), (80, "80 s"), (90, "1.5 min"), (5400, "1.5 h"), (400_000, "4.6 days")]
)
def test_durations_in_peoples_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_matrix_rate_is_that_of_a_computer() -> None:
    assert 1e8 < matrix_rate() < 1e13
