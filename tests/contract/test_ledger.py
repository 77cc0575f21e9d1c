"""The ledger: what a cell spends, by phase."""

import pytest

from harness.contract.ledger import PHASES, SHARED_PHASES, Ledger
from harness.run.records import LedgerRecord


def test_the_total_leaves_out_what_every_method_shares() -> None:
    ledger = Ledger()
    for phase, flops in (("connector", 5.0), ("eval", 2.0), ("runner_eval", 100.0), ("connector", 1.0)):
        ledger.add(phase, flops)
    assert ledger.total == 8.0
    assert LedgerRecord.of(ledger).flops == {"connector": 6.0, "eval": 2.0, "runner_eval": 100.0}
    assert LedgerRecord.of(ledger).total == 8.0
    with pytest.raises(ValueError, match="unknown phase 'training'"):
        ledger.add("training", 1.0)


def test_every_phase_can_be_booked_and_counts_once() -> None:
    ledger = Ledger()
    for phase in (*PHASES, *SHARED_PHASES):
        ledger.add(phase, 1.0)
    assert ledger.total == LedgerRecord.of(ledger).total == len(PHASES)
    assert "wasted" in PHASES, "work that was thrown away is the method's own"


def test_including_a_part_and_adding_records_sum_everything() -> None:
    whole, part = Ledger(), Ledger(updates=3, samples=24)
    whole.add("connector", 1.0)
    whole.seconds["train"] = 2.0
    part.add("connector", 4.0)
    part.add("eval", 8.0)
    part.seconds["train"] = 1.0
    added = LedgerRecord.of(whole).plus(LedgerRecord.of(part))
    whole.include(part)
    assert LedgerRecord.of(whole) == added
    assert added == LedgerRecord(flops={"connector": 5.0, "eval": 8.0}, seconds={"train": 3.0}, updates=3, samples=24)


def test_a_section_adds_its_seconds_even_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 20.0, 25.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    ledger = Ledger()
    with ledger.section("train"):
        pass
    assert ledger.seconds == {"train": 2.0}
    with pytest.raises(RuntimeError), ledger.section("train"):
        raise RuntimeError
    assert ledger.seconds == {"train": 7.0}
