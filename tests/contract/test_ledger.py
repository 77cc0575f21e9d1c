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


def test_what_a_part_books_is_booked_in_the_whole() -> None:
    whole = Ledger()
    whole.add("connector", 1.0)
    whole.add_seconds("train", 2.0)
    part = whole.part()
    part.add("connector", 4.0)
    part.add("eval", 8.0)
    part.add_seconds("train", 1.0)
    part.add_updates(3, 8)
    assert LedgerRecord.of(part) == LedgerRecord(
        flops={"connector": 4.0, "eval": 8.0}, seconds={"train": 1.0}, updates=3, samples=24
    )
    assert LedgerRecord.of(whole) == LedgerRecord(
        flops={"connector": 5.0, "eval": 8.0}, seconds={"train": 3.0}, updates=3, samples=24
    )


def test_what_the_harness_asks_for_stands_beside_the_total_of_a_part_and_of_the_whole() -> None:
    whole = Ledger()
    whole.add("eval", 1.0)
    part = whole.part()
    part.add("eval", 2.0)
    with part.beside():
        part.add("eval", 4.0)
        part.add("hypernet", 8.0)
    assert (part.total, part.flops["runner_eval"]) == (2.0, 12.0)
    assert (whole.total, whole.flops["runner_eval"]) == (3.0, 12.0)


def test_records_of_ledgers_add_up() -> None:
    first, second = Ledger(updates=1, samples=8), Ledger(updates=3, samples=24)
    first.add("connector", 1.0)
    second.add("connector", 4.0)
    second.add("eval", 8.0)
    assert LedgerRecord.of(first).plus(LedgerRecord.of(second)) == LedgerRecord(
        flops={"connector": 5.0, "eval": 8.0}, seconds={}, updates=4, samples=32
    )


def test_a_section_adds_its_seconds_even_when_it_fails() -> None:
    ledger = Ledger()
    with ledger.section("train"):
        pass
    first = ledger.seconds["train"]
    with pytest.raises(RuntimeError), ledger.section("train"):
        raise RuntimeError
    assert ledger.seconds["train"] > first > 0
