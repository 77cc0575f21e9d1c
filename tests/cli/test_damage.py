"""Damaged files of a real run: named once, counted as missing, set aside and made again with the same numbers."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.run.store import RunStore
from tests.stored import rewrite

SWEEP = ("sweep", "world.yaml", "--backend", "serial")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def gone(path: Path) -> None:
    path.unlink()


def another_score(path: Path) -> None:
    """One digit of a number: the file is valid, and says something else."""
    text = path.read_text()
    start = text.index('"score": 0.') + len('"score": 0.')
    path.write_text(text[:start] + str((int(text[start]) + 1) % 10) + text[start + 1 :])


def another_type(path: Path) -> None:
    path.write_text("[1, 2]")


def another_key(path: Path) -> None:
    other = next(other for other in sorted(path.parent.glob("*.json")) if other != path)
    path.write_bytes(other.read_bytes())


def other_pairs(path: Path) -> None:
    """What a tool that knows of checksums might write."""
    rewrite(path, {"pairs": [["a", "b"]], "metrics": [{"image": "a", "text": "b", "score": 0.5}]})


def no_metrics(path: Path) -> None:
    rewrite(path, {"metrics": []})


RECORDS = [cut, empty, flipped, another_score, another_type, another_key, other_pairs, no_metrics]


@pytest.fixture
def numbers(finished_world: Path) -> dict[str, object]:
    """Key -> metrics of the undisturbed run."""
    return metrics_of(finished_world / "runs/world")


def metrics_of(run: Path) -> dict[str, object]:
    return {path.stem: json.loads(path.read_text())["metrics"] for path in run.glob("cells/*.json")}


def keys(run: Path, label: str = "ape") -> list[str]:
    """Cells of a method, in the order of the plan."""
    return [cell.key for cell in RunStore(str(run)).manifest().cells if cell.label == label]


def lines(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


def named(text: str, damaged: list[Path], *words: str) -> bool:
    """Whether each file stands in one line with these words, and nothing else does."""
    return sorted(path for path in damaged for _ in lines(text, str(path), *words)) == sorted(damaged) and len(
        lines(text, *words)
    ) == len(damaged)


def healed(project, numbers: dict[str, object], damaged: list[Path], *more: str, cells: int) -> None:
    """The next sweep names the damage once, runs just what it must, and everything is as if nothing had happened."""
    run = project.folder / "runs/world"
    stamps = {path: path.stat().st_mtime_ns for path in run.glob("cells/*.json")}
    code, out, err = project.invoke(*SWEEP, *more)
    assert code == 0, out + err
    assert named(err, damaged, "damaged, set aside and made again: ")
    assert "cells 14/14 done · 0 failed" in err if cells else "nothing to run: 14 of 14" in err
    assert metrics_of(run) == numbers
    touched = [path for path in run.glob("cells/*.json") if path.stat().st_mtime_ns != stamps.get(path)]
    assert len(touched) == cells
    assert not list((run / "damaged").rglob("*.json")), "nothing takes it for a record"
    code, out, _ = project.invoke("verify", "world")
    assert (code, "nothing damaged" in out) == (0, True)
    assert lines(project.invoke("status", "world")[1], "damaged") == []


def test_damaged_records(copy_of_world, numbers) -> None:
    run = copy_of_world.folder / "runs/world"
    paths = [run / "cells" / f"{key}.json" for key in keys(run)[: len(RECORDS)]]
    for path, damage in zip(paths, RECORDS, strict=True):
        damage(path)
    contents = {path: path.read_bytes() for path in paths}
    left = 14 - len(paths)
    code, out, err = copy_of_world.invoke("status", "world")
    assert (code, err) == (0, "")
    assert f"{left} of 14 cells" in out
    assert named(out, paths, "damaged, counted as missing: ", "the next harness sweep makes it again")
    code, out, err = copy_of_world.invoke("report", "world")
    assert code == 0, err
    assert named(out, paths, "ape: 1 of 12 cells missing (damaged: ", "the next harness sweep makes it again")
    assert all(path.name in (run / "report/report.md").read_text() for path in paths)
    code, out, err = copy_of_world.invoke("export", "world", "--method", "ape", "--out", "exported")
    assert (code, out) == (2, "")
    assert "cells/" in err and "the next harness sweep makes it again" in err and len(err.splitlines()) == 1
    assert not (copy_of_world.folder / "exported").exists()
    code, out, _ = copy_of_world.invoke("verify", "world")
    assert code == 1
    assert named(out, paths, "damaged: ")
    assert out.splitlines()[-1].endswith(f": {len(paths)} damaged")
    assert {path: path.read_bytes() for path in paths} == contents, "who only reads changes nothing"
    healed(copy_of_world, numbers, paths, cells=len(paths))
    for path, content in contents.items():
        assert [file.read_bytes() for file in (run / "damaged/cells").glob(f"{path.name}.*")] == [content]


def test_damaged_ranks(copy_of_world, numbers) -> None:
    run = copy_of_world.folder / "runs/world"
    kinds = [cut, empty, flipped, gone]
    paths = [run / "cells" / f"{key}.npz" for key in keys(run)[: len(kinds)]]
    for path, damage in zip(paths, kinds, strict=True):
        damage(path)
    code, out, _ = copy_of_world.invoke("status", "world")
    assert (code, "10 of 14 cells" in out) == (0, True)
    assert named(out, paths, "damaged, counted as missing: ")
    code, out, _ = copy_of_world.invoke("report", "world")
    assert code == 0
    assert named(out, paths, "ape: 1 of 12 cells missing (damaged: ")
    code, out, _ = copy_of_world.invoke("verify", "world")
    assert code == 1
    assert named(out, paths, "damaged: ")
    healed(copy_of_world, numbers, paths, cells=len(paths))


def test_what_a_damaged_cell_had_spent_is_booked_as_wasted(copy_of_world) -> None:
    run = copy_of_world.folder / "runs/world"
    key = keys(run)[0]
    spent = RunStore(str(run)).record(key).ledger
    gone(run / "cells" / f"{key}.npz")
    assert copy_of_world.invoke(*SWEEP)[0] == 0
    ledger = RunStore(str(run)).record(key).ledger
    assert ledger.flops.pop("wasted") == spent.total
    assert ledger.flops == spent.flops


def test_damaged_connectors(copy_of_world, numbers) -> None:
    run = copy_of_world.folder / "runs/world"
    kinds = [cut, gone, flipped]
    paths = [run / "connectors" / f"{key}.safetensors" for key in keys(run)[: len(kinds)]]
    records = [RunStore(str(run)).record(path.stem) for path in paths]
    for path, damage in zip(paths, kinds, strict=True):
        damage(path)
    exports = [("--pair", *record.pairs[0], "--seed", str(record.seed)) for record in records]
    for path, pair in zip(paths, exports, strict=True):
        code, out, err = copy_of_world.invoke("export", "world", "--method", "ape", "--out", "exported", *pair)
        assert (code, out) == (2, "")
        assert named(err, [path], "harness sweep SWEEP --verify makes it again") and len(err.splitlines()) == 1
        assert not (copy_of_world.folder / "exported").exists()
    code, out, _ = copy_of_world.invoke("verify", "world")
    assert code == 1
    assert named(out, paths, "damaged: ")
    code, out, _ = copy_of_world.invoke("status", "world")
    assert named(out, paths[:2], "damaged, counted as missing: "), "only reading it tells of the third"
    healed(copy_of_world, numbers, paths, "--verify", cells=3)
    for number, pair in enumerate(exports):
        code, _, err = copy_of_world.invoke("export", "world", "--method", "ape", "--out", f"out{number}", *pair)
        assert code == 0, err


def test_a_damaged_manifest(copy_of_world, numbers) -> None:
    run = copy_of_world.folder / "runs/world"
    path = run / "manifest.json"
    whole = path.read_bytes()
    for damage in (cut, empty, another_type, flipped):
        path.write_bytes(whole)
        damage(path)
        for command in (("status", "world"), ("report", "world"), ("export", "world", "--method", "ape", "--out", "x")):
            code, out, err = copy_of_world.invoke(*command)
            assert (code, out, len(err.splitlines())) == (2, "", 1)
            assert named(err, [path], "the next harness sweep makes it again")
        code, out, _ = copy_of_world.invoke("verify", "world")
        assert code == 1
        assert named(out, [path], "damaged: ")
    healed(copy_of_world, numbers, [path], cells=0)
    assert list((run / "damaged").glob("manifest.json.*"))


def banks(project) -> list[Path]:
    return sorted(project.folder.glob("runs/banks/*/*"))


def flipped_in_secret(path: Path) -> None:
    """With the modification time set back."""
    before = path.stat()
    flipped(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "damages",
    [
        [("embeddings.npy", cut), ("embeddings.npy", empty), ("embeddings.npy", flipped_in_secret)],
        [("meta.json", cut), ("meta.json", empty), ("meta.json", flipped), ("embeddings.npy", gone)],
    ],
    ids=["content", "description"],
)
def test_damaged_banks(copy_of_world, numbers, damages: list[tuple[str, Callable[[Path], None]]]) -> None:
    paths = [bank / name for bank, (name, _) in zip(banks(copy_of_world), damages, strict=False)]
    before = [(path.parent / "embeddings.npy").read_bytes() for path in paths]
    for path, (_, damage) in zip(paths, damages, strict=True):
        damage(path)
    code, out, _ = copy_of_world.invoke("verify", "world")
    assert code == 1
    assert named(out, paths, "damaged: ")
    healed(copy_of_world, numbers, paths, cells=0)
    assert [(path.parent / "embeddings.npy").read_bytes() for path in paths] == before
    assert all(list((path.parent / "damaged").glob("*.0")) for path in paths)


def test_embed_heals_banks_too(copy_of_world) -> None:
    """Also a description that was copied from another bank, which fits its checksum."""
    one, other = banks(copy_of_world)[:2]
    before = (one / "embeddings.npy").read_bytes()
    (one / "meta.json").write_bytes((other / "meta.json").read_bytes())
    code, out, err = copy_of_world.invoke("embed", "world.yaml")
    assert (code, out.count("extracted  "), out.count("was there  ")) == (0, 1, 4)
    assert named(err, [one / "meta.json"], "damaged, set aside and made again: ", "describes another bank")
    assert (one / "embeddings.npy").read_bytes() == before


def test_many_damages_at_once_are_each_named_once(copy_of_world, numbers) -> None:
    run = copy_of_world.folder / "runs/world"
    of_joint, own = keys(run, "hyma"), keys(run)
    damaged = [
        run / "cells" / f"{own[0]}.json",
        run / "cells" / f"{of_joint[1]}.npz",
        run / "manifest.json",
        banks(copy_of_world)[3] / "embeddings.npy",
    ]
    for path in damaged:
        cut(path)
    code, out, _ = copy_of_world.invoke("verify", "world", "--json")
    assert code == 1
    assert sorted(damage["file"] for damage in json.loads(out)["damaged"]) == sorted(map(str, damaged))
    healed(copy_of_world, numbers, damaged, cells=2)


def test_a_whole_run_is_whole(finished) -> None:
    code, out, err = finished.invoke("verify", "world")
    assert (code, err) == (0, "")
    assert out == "14 cells, 28 files of them, 5 banks: nothing damaged\n"
    code, out, _ = finished.invoke("verify", "world", "--json")
    found = json.loads(out)
    assert (code, found["cells"], found["files"], found["banks"], found["damaged"]) == (0, 14, 28, 5, [])


def test_records_of_an_older_version_have_no_checksums_and_are_read(copy_of_world, numbers) -> None:
    run = copy_of_world.folder / "runs/world"
    for path in [
        *run.glob("cells/*.json"),
        run / "manifest.json",
        *(bank / "meta.json" for bank in banks(copy_of_world)),
    ]:
        rewrite(path, lambda values: values.pop("files", None), sealed=False)
    code, out, _ = copy_of_world.invoke("verify", "world")
    assert code == 0
    assert out.startswith("14 cells (14 of an older version, without checksums), 0 files of them, 5 banks: nothing")
    assert "14 of 14 cells" in copy_of_world.invoke("status", "world")[1]
    code, _, err = copy_of_world.invoke(*SWEEP)
    assert (code, "nothing to run" in err) == (0, True)
    cut(run / "cells" / f"{keys(run)[0]}.npz")  # a zip file tells without
    healed(copy_of_world, numbers, [run / "cells" / f"{keys(run)[0]}.npz"], cells=1)
