"""A glance at a run sees the same cells as a survey, whole or damaged, also those of older versions."""

import json
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.run.store import RunStore
from tests.stored import rewrite


@pytest.fixture
def run(copy_of_world) -> tuple[RunStore, list[Path]]:
    store = RunStore(str(copy_of_world.folder / "runs" / "world"))
    return store, [Path(store.where) / "cells" / f"{cell.key}.json" for cell in store.manifest().cells]


def test_a_glance_finds_what_a_survey_finds(run) -> None:
    store, files = run
    cut, flipped, of_older, unranked, other, gone = files[:6]
    cut.write_bytes(cut.read_bytes()[:200])
    flipped.write_bytes(flipped.read_bytes().replace(b'"label": "', b'"label": "x'))
    rewrite(of_older, {"wall_s": 12.5}, sealed=False)
    unranked.with_suffix(".npz").write_bytes(b"no ranks")
    other.write_bytes(files[7].read_bytes())
    gone.unlink()
    cells = store.manifest().cells
    survey, glance = store.survey(cells), store.glance(cells)
    assert list(glance.records) == list(survey.records)
    assert set(glance.damaged) == set(survey.damaged) == {path.stem for path in (cut, flipped, unranked, other)}
    assert {k: str(v) for k, v in glance.damaged.items()} == {k: str(v) for k, v in survey.damaged.items()}
    for key, found in glance.records.items():
        record = survey.records[key]
        for name in ("label", "seed", "pairs", "status", "wall_s", "lost", "error", "files"):
            assert getattr(found, name) == getattr(record, name)
    assert glance.records[of_older.stem].wall_s == 12.5


def test_a_glance_refuses_another_schema(run) -> None:
    store, files = run
    rewrite(files[0], {"schema_version": 3})
    with pytest.raises(HarnessError, match="is of schema 3, from a newer version"):
        store.glance(store.manifest().cells)


def test_a_record_that_an_editor_has_laid_out_anew_is_whole_and_one_with_another_number_is_not(run) -> None:
    store, files = run
    values = json.loads(files[0].read_text())
    files[0].write_text(json.dumps(values, indent=4))
    assert store.record(files[0].stem).key == files[0].stem
    files[1].write_text(json.dumps(json.loads(files[1].read_text()) | {"wall_s": 0.125}, indent=4))
    with pytest.raises(HarnessError, match="its checksum is another"):
        store.record(files[1].stem)


def test_only_the_wanted_arrays_are_read(run) -> None:
    store, files = run
    every = store.queries(files[0].stem)
    units = store.queries(files[0].stem, lambda name: name.endswith("/unit"))
    assert set(units) == {name for name in every if name.endswith("/unit")} != set(every)
