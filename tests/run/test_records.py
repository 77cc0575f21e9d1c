"""Records survive being written and read, and what two parts of a work spent adds up in any order."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.contract.ledger import PHASES, SHARED_PHASES, Ledger
from harness.contract.ledger_record import NOTHING_SPENT, LedgerRecord
from harness.run.records import (
    CellRecord,
    CheckpointRecord,
    LostPair,
    Manifest,
    PairMetrics,
    TuningRecord,
)
from harness.run.store import RunStore

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SPENT = st.integers(0, 10**9).map(float)
LEDGERS = st.builds(
    LedgerRecord,
    flops=st.dictionaries(st.sampled_from([*PHASES, *SHARED_PHASES]), SPENT),
    seconds=st.dictionaries(st.sampled_from(["fit", "data", "eval"]), SPENT),
    updates=st.integers(0, 10**12),
    samples=st.integers(0, 10**12),
)
WORDS = st.text(max_size=12)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3, unique=True)
METRICS = st.dictionaries(WORDS, st.dictionaries(WORDS, NUMBERS, max_size=2), max_size=2)
CELLS = st.builds(
    CellRecord,
    key=st.just("k"),
    kind=st.sampled_from(["per_pair", "joint", "score"]),
    status=st.sampled_from(["done", "failed", "diverged", "timeout", "skipped"]),
    label=WORDS,
    method=WORDS,
    version=st.integers(1, 9),
    seed=st.integers(0, 2**40),
    pairs=PAIRS,
    metrics=st.lists(st.builds(PairMetrics, score=NUMBERS, validation=METRICS, test=METRICS), max_size=2),
    curve=st.lists(
        st.builds(
            CheckpointRecord,
            epoch=NUMBERS,
            updates_per_pair=NUMBERS,
            samples_per_pair=NUMBERS,
            flops=NUMBERS,
            seconds=NUMBERS,
            scores=st.lists(st.none() | NUMBERS, max_size=3),
        ),
        max_size=2,
    ),
    ledger=LEDGERS,
    lost=st.lists(st.builds(LostPair), max_size=1),
    error=st.none() | WORDS,
    tuning=st.none()
    | st.builds(TuningRecord, tried=st.lists(NUMBERS, max_size=3), picked=st.lists(st.none() | NUMBERS, max_size=3)),
    warnings=st.lists(WORDS, max_size=2),
)


@given(CELLS)
def test_a_cell_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, record: CellRecord) -> None:
    if record.status == "done":  # a finished cell has a number of every pair
        drawn = [*record.metrics, *[PairMetrics(image="", text="", score=0.5)] * len(record.pairs)]
        metrics = [
            entry.model_copy(update={"image": image, "text": text})
            for entry, (image, text) in zip(drawn, record.pairs, strict=False)
        ]
        record = record.model_copy(update={"metrics": metrics, "lost": []})
    store = RunStore(str(tmp_path_factory.mktemp("run")))
    store.write_cell(record)
    assert store.record("k") == record


def test_a_plan_is_read_as_it_was_written(finished, tmp_path) -> None:
    manifest = finished.store(finished.plan()).manifest()
    store = RunStore(str(tmp_path / "copy"))
    assert not store.planned()
    store.write_manifest(manifest)
    assert store.planned()
    assert store.manifest() == manifest
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_a_score_that_was_lost_in_a_curve_is_none_when_it_is_read(tmp_path) -> None:
    """JSON has no NaN: a checkpoint of a pair that has diverged meanwhile is still a checkpoint."""
    point = CheckpointRecord(
        step=1, epoch=1, updates_per_pair=1, samples_per_pair=1, flops=1, seconds=1, scores=[math.nan, 0.5]
    )
    assert CheckpointRecord.model_validate_json(point.model_dump_json()).scores == [None, 0.5]


@given(LEDGERS, LEDGERS, LEDGERS)
def test_what_was_spent_adds_up_in_any_order(one: LedgerRecord, two: LedgerRecord, three: LedgerRecord) -> None:
    assert one.plus(two) == two.plus(one)
    assert one.plus(two).plus(three) == one.plus(two.plus(three))
    assert one.plus(NOTHING_SPENT) == one
    assert one.plus(two).total == one.total + two.total
    for phase in SHARED_PHASES:
        assert LedgerRecord(flops={phase: 7.0}, seconds={}, updates=0, samples=0).total == 0


@given(LEDGERS)
def test_a_stored_ledger_keeps_every_phase_that_cost_anything(record: LedgerRecord) -> None:
    ledger = Ledger(updates=record.updates, samples=record.samples)
    for phase, flops in record.flops.items():
        ledger.add(phase, flops)
    ledger.seconds.update(record.seconds)
    stored = LedgerRecord.of(ledger)
    assert stored.total == ledger.total == record.total
    assert stored.flops == {phase: flops for phase, flops in record.flops.items() if flops}
    assert (stored.updates, stored.samples, stored.seconds) == (record.updates, record.samples, record.seconds)


@pytest.mark.parametrize("wrong", [{"updates": "many"}, {"flop": {}}, {"samples": None}])
def test_a_record_takes_no_other_field_and_no_other_type(wrong: dict) -> None:
    fields = {"flops": {}, "seconds": {}, "updates": 0, "samples": 0}
    with pytest.raises(ValidationError):
        LedgerRecord.model_validate(fields | wrong)
    record = LedgerRecord.model_validate(fields)
    with pytest.raises(ValidationError, match="frozen"):
        record.updates = 5
