"""A cell that is interrupted goes on from its checkpoint: the same numbers bit for bit, and no work is forgotten."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load

from harness.contract import ledger as ledgers
from harness.contract.keeping import Kept, KeptPoint, KeptTraining
from harness.contract.ledger_record import LedgerRecord
from harness.contract.sealed import sealed, unsealed
from harness.errors import StorageFailed
from harness.run import attempts, keeping
from harness.run.blobs import FolderBlobs
from harness.run.cell import run_cell
from harness.run.execute import prepare
from harness.run.records import CellRecord
from harness.run.stopping import missing, next_wave
from harness.run.store import RunStore
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell
from tests.conftest import Project

METHODS = {
    "hyma": "{epochs: 6, batch_size: 64, pairs_per_step: 3, lr: 1.0e-2, hidden: [16, 8]}",
    "hyma_of_features": "{method: hyma, conditioning: features, sampling: published, epochs: 6, batch_size: 64, "
    "pairs_per_step: 2, lr: [1.0e-2, 2.0e-2], hidden: [16, 8]}",
    "hyper_align": "{epochs: 4, batch_size: 64, pairs_per_step: 3, hidden: [8, 8]}",
    "encoder_layers": "{epochs: 6, batch_size: 64, pairs_per_step: 2, space_dim: 8, tune: shared, lr: [1e-2, 1e30]}",
    "shared_connector": "{epochs: 4, batch_size: 64, precision: bf16}",
    "ape_stacked": "{epochs: 4, batch_size: 64, lr: [1.0e-3, 1.0e-2]}",
    "ape_halving": "{epochs: 4, batch_size: 64, lr: [1.0e-3, 1.0e-2]}",
    "joint_polished": "{updates: 6, batch_size: 64, pairs_per_step: 2, space_dim: 4, lr: [1e-2, 2e-2]}",
    "add_encoder": "{held_out: image02, epochs: 4, batch_size: 64, pairs_per_step: 2, condition_updates: 6, "
    "hidden: [16, 8]}",
}


def of_method(world: Project, label: str, storage: str) -> tuple[Plan, RunStore]:
    """A run of this method alone, before any cell has run."""
    setting = f"methods={{{label}: {METHODS[label]}}}"
    return world.prepared("world.yaml", setting, "reference=null", "seeds=[0]", f"storage={storage}")


@dataclass
class Killer:
    """Interrupts cells at random steps and has their trainings kept at random steps; counts the FLOPs of all attempts.

    An interrupt leaves what a kill leaves: no record. The last note is up to date, so that nothing is unknown.
    """

    rng: np.random.Generator
    chance: float = 0.0
    kills: int = 0
    recovered: int = 0
    executed: float = 0.0
    booking: bool = field(default=False, repr=False)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        note, add, book = attempts.Attempt.note, ledgers.Ledger.add, LedgerRecord.book

        def noted(own: attempts.Attempt, *, now: bool = False) -> None:
            note(own, now=now)
            if not now and self.rng.random() < self.chance:
                self.kills += 1
                raise KeyboardInterrupt

        def added(own: ledgers.Ledger, phase: str, flops: float) -> None:
            if own._whole is None and phase in ledgers.PHASES and phase != "wasted" and not self.booking:
                self.executed += flops
            add(own, phase, flops)

        def booked(own: LedgerRecord, into: ledgers.Ledger) -> None:
            self.booking, self.recovered = True, self.recovered + 1
            book(own, into)
            self.booking = False

        monkeypatch.setattr(attempts, "NOTE_EVERY_S", 0.0)
        monkeypatch.setattr(attempts.Attempt, "note", noted)
        monkeypatch.setattr(ledgers.Ledger, "add", added)
        monkeypatch.setattr(LedgerRecord, "book", booked)
        monkeypatch.setattr(keeping.CellPlace, "due", lambda own: self.rng.random() < 0.4)

    def run(self, plan: Plan, store: RunStore) -> None:
        """Run all cells, each again for as long as it is interrupted."""
        cells = missing(plan, store)
        while cells:
            for cell in cells:
                while not store.has(cell.key):
                    try:
                        run_cell(plan, store, cell)
                    except KeyboardInterrupt:
                        continue
            cells = next_wave(plan, store, cells)


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    found = Killer(np.random.default_rng(5))
    found.install(monkeypatch)
    return found


def numbers(record: CellRecord) -> dict:
    """All of a record that does not depend on the clock or on what was lost."""
    plain = record.model_dump(exclude={"wall_s", "device_s", "provenance", "ledger", "curve", "files"})
    plain["curve"] = [point.model_dump(exclude={"seconds"}) for point in record.curve]
    plain["flops"] = {phase: flops for phase, flops in record.ledger.flops.items() if phase != "wasted"}
    plain["counts"] = record.ledger.updates, record.ledger.samples
    return plain


def tensors(store: RunStore, key: str) -> dict[str, list] | None:
    data = store.connectors(key)
    return {name: tensor.tolist() for name, tensor in load(data).items()} if data else None


@pytest.mark.parametrize("label", METHODS)
def test_interrupted_at_random_steps_a_cell_ends_as_if_it_had_not_been(world, killer, label: str) -> None:
    plan, undisturbed = of_method(world, label, "undisturbed")
    killer.run(plan, undisturbed)
    killer.chance, killer.executed = 0.2, 0.0
    again, disturbed = of_method(world, label, "disturbed")
    killer.run(again, disturbed)

    assert [cell.key for cell in again.cells] == [cell.key for cell in plan.cells]
    assert killer.kills >= 2
    assert killer.recovered >= 1
    total = 0.0
    for cell in plan.cells:
        if not undisturbed.has(cell.key):
            continue
        one, other = undisturbed.record(cell.key), disturbed.record(cell.key)
        assert one.status in ("done", "skipped")
        assert numbers(one) == numbers(other)
        assert tensors(undisturbed, cell.key) == tensors(disturbed, cell.key)
        ranks, same = undisturbed.queries(cell.key), disturbed.queries(cell.key)
        assert {name: array.tolist() for name, array in ranks.items()} == {n: a.tolist() for n, a in same.items()}
        total += other.ledger.total
    assert total == pytest.approx(killer.executed, rel=1e-12), "each FLOP of each attempt is booked once"
    assert list(disturbed.blobs.list("checkpoints/")) == []
    assert list(disturbed.blobs.list("attempts/")) == []


@pytest.fixture
def once(world, killer, monkeypatch: pytest.MonkeyPatch) -> "Once":
    """A run of hyma whose cell is interrupted at its tenth step, after it has been kept at each before."""
    monkeypatch.setattr(keeping.CellPlace, "due", lambda own: True)
    return Once(world, killer, monkeypatch)


@dataclass
class Once:
    world: Project
    killer: Killer
    monkeypatch: pytest.MonkeyPatch

    def undisturbed(self) -> CellRecord:
        plan, store = of_method(self.world, "hyma", "undisturbed")
        self.killer.run(plan, store)
        return store.record(plan.cells[0].key)

    def begun(self, how: type[BaseException] = KeyboardInterrupt) -> tuple[Plan, RunStore, PlannedCell]:
        """The run after the first attempt, which ended at its tenth step."""
        plan, store = of_method(self.world, "hyma", "disturbed")
        (cell,) = plan.cells
        note, steps = attempts.Attempt.note, []

        def noted(own: attempts.Attempt, *, now: bool = False) -> None:
            note(own, now=now)
            steps.extend([] if now else [1])
            if not now and len(steps) == 10:
                raise how

        self.killer.executed = 0.0
        with self.monkeypatch.context() as patch:
            patch.setattr(attempts.Attempt, "note", noted)
            if how is KeyboardInterrupt:
                with pytest.raises(KeyboardInterrupt):
                    run_cell(plan, store, cell)
            else:
                assert run_cell(plan, store, cell).status == "failed"
        return plan, store, cell


def files(store: RunStore) -> list[Path]:
    return sorted((Path(store.where) / "checkpoints").iterdir())


def test_only_the_steps_since_the_checkpoint_are_wasted(once) -> None:
    plan, store, cell = once.begun()
    (tensors_file, record) = files(store)
    assert (record.name, tensors_file.name) == (f"{cell.key}.0.json", f"{cell.key}.0.9.safetensors")
    spent = store.lost_attempt(cell.key)
    kept = keeping.KeptRun.model_validate(unsealed(record.read_bytes())).training
    done = run_cell(plan, store, cell)
    assert spent is not None
    assert done.ledger.flops["wasted"] == spent.total - kept.spent.total > 0
    assert numbers(done) == numbers(once.undisturbed())
    lost_s = spent.seconds["fit"] - kept.elapsed_s
    assert done.ledger.seconds["wasted"] == pytest.approx(lost_s)
    assert done.wall_s > done.device_s > kept.elapsed_s
    assert done.curve[-1].seconds > kept.elapsed_s
    assert files(store) == []


def test_a_cell_that_failed_goes_on_too(once) -> None:
    plan, store, cell = once.begun(MemoryError)
    assert len(files(store)) == 2
    todo = prepare(plan, store, lambda resolved: None)
    assert todo.cells == [cell]
    attempts.retire(store, cell.key)
    done = run_cell(plan, store, cell)
    assert done.status == "done"
    assert once.killer.recovered == 1
    assert done.ledger.total == once.killer.executed
    assert numbers(done) == numbers(once.undisturbed())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("ending", ["json", "safetensors"])
@pytest.mark.parametrize("harm", [cut, flip, Path.unlink])
def test_a_damaged_checkpoint_is_set_aside_and_training_begins_anew(once, ending: str, harm: Callable) -> None:
    plan, store, cell = once.begun()
    (path,) = [path for path in files(store) if path.name.endswith(ending)]
    harm(path)
    done = run_cell(plan, store, cell)
    assert once.killer.recovered == 0
    assert done.ledger.total == once.killer.executed, "the whole first attempt is wasted"
    gone = ending == "json" and harm is Path.unlink  # then nobody knows that there was one
    assert [warning.partition(":")[0] for warning in done.warnings] == ([] if gone else ["began anew"])
    assert files(store) == []
    aside = [path.name[: len(cell.key)] for path in (Path(store.where) / "damaged" / "checkpoints").glob("*")]
    assert set(aside) == (set() if gone else {cell.key})
    assert numbers(done) | {"warnings": []} == numbers(once.undisturbed())


def test_a_checkpoint_of_other_code_is_not_used(once, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store, cell = once.begun()
    monkeypatch.setattr("harness.run.keeping.sources_of", lambda *classes: {"hyma.joint": "another digest"})
    done = run_cell(plan, store, cell)
    assert once.killer.recovered == 0
    assert done.warnings == ["began anew: its checkpoint was made from other code, banks or settings"]
    assert done.ledger.total == once.killer.executed
    assert files(store) == []
    assert not (Path(store.where) / "damaged").exists()


def test_a_checkpoint_of_other_settings_is_not_used(once) -> None:
    _, store, cell = once.begun()
    changed = METHODS["hyma"].replace("lr: 1.0e-2", "lr: 2.0e-2")
    setting = f"methods={{hyma: {changed}}}"
    plan, same = once.world.prepared("world.yaml", setting, "reference=null", "seeds=[0]", "storage=disturbed")
    assert same.where == store.where
    done = run_cell(plan, same, plan.cells[0])
    assert done.key != cell.key
    assert (done.status, done.warnings, once.killer.recovered) == ("done", [], 0)
    assert len(files(store)) == 2, "it stays for whoever goes back to the first plan"


def test_neither_interval_nor_keeping_changes_a_key_or_a_number(world) -> None:
    plain, store = of_method(world, "hyma", "plain")
    run_cell(plain, store, plain.cells[0])
    often = METHODS["hyma"].replace("{", "{resources: {checkpoint_every_s: 1.0e-6}, ", 1)
    plan, other = world.prepared("world.yaml", f"methods={{hyma: {often}}}", "reference=null", "seeds=[0]")
    assert [cell.key for cell in plan.cells] == [cell.key for cell in plain.cells]
    done = run_cell(plan, other, plan.cells[0])
    assert numbers(done) == numbers(store.record(done.key))
    assert files(other) == [], "some were written, and removed"


def test_a_checkpoint_that_cannot_be_written_fails_no_cell(once, monkeypatch: pytest.MonkeyPatch) -> None:
    put = FolderBlobs.put

    def full(own: FolderBlobs, name: str, data: bytes) -> None:
        if name.startswith("checkpoints/"):
            raise StorageFailed("the disk is full", where=name)
        put(own, name, data)

    monkeypatch.setattr(FolderBlobs, "put", full)
    assert numbers(once.undisturbed())["status"] == "done"


def test_a_sweep_removes_what_a_process_left_that_died_after_its_last_cell(once) -> None:
    plan, store, cell = once.begun()
    left = {path.name: path.read_bytes() for path in files(store)}
    run_cell(plan, store, cell)
    for name, data in left.items():
        store.blobs.put(f"checkpoints/{name}", data)
    assert prepare(plan, store, lambda resolved: None).cells == []
    assert files(store) == []


@pytest.mark.parametrize(
    ("asked", "first", "second"),
    [("null", 120.0, 120.0), ("7.0", 7.0, 20.0), ("0", None, None)],
    ids=["by default", "often, but each takes a second", "never"],
)
def test_when_a_training_is_kept(world, monkeypatch, asked: str, first: float | None, second: float | None) -> None:
    """By a clock of its own: seconds until it is due, and from then until it is due again if keeping took one."""
    now = [1000.0]
    monkeypatch.setattr(keeping, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    setting = METHODS["hyma"].replace("{", f"{{resources: {{checkpoint_every_s: {asked}}}, ", 1)
    plan, store = world.prepared("world.yaml", f"methods={{hyma: {setting}}}", "reference=null", "seeds=[0]")
    attempt = attempts.Attempt(store, plan.cells[0].key, ledgers.Ledger())
    place = keeping.CellKeeper(plan, store, plan.cells[0], attempt).place("a signature")
    if first is None or second is None:
        now[0] += 1e9
        assert not place.due()
        return

    def slow(tensors: object) -> bytes:
        now[0] += 1.0
        return b""

    monkeypatch.setattr(keeping, "save", slow)
    for wait in (first, second):
        now[0] += wait - 0.01
        assert not place.due()
        now[0] += 0.02
        assert place.due()
        place.keep(Kept(KeptTraining(step=3, elapsed_s=1.0, counted=[], rates=[]), {}))


@given(st.dictionaries(st.integers(0, 99), st.floats()), st.floats(allow_nan=False))
def test_a_point_survives_being_stored_whatever_its_scores(scores: dict[int, float], number: float) -> None:
    point = KeptPoint(
        step=1, epoch=number, updates_per_pair=number, samples_per_pair=1.0, flops=1.0, seconds=1.0, scores=scores
    )
    again = KeptPoint.model_validate(unsealed(sealed(point)))
    assert json.dumps(again.model_dump()) == json.dumps(point.model_dump())
