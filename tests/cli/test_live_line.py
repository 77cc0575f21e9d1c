"""The live line of a sweep: what it counts, and that it says nothing that is not so."""

import io

import pytest
from rich.console import Console

from harness.cli.live import LiveLine
from harness.cli.tally import Waiting
from harness.run.records import NOTHING_SPENT, CellRecord, PairMetrics
from harness.sweep.planned import PlannedCell


def cell(key: str) -> PlannedCell:
    return PlannedCell(key=key, label="ape", seed=0, pairs=[("i", key)], cpus=1, gpus=0)


def record(key: str, score: float | None = None, **changes: object) -> CellRecord:
    metrics = [] if score is None else [PairMetrics(image="i", text=key, score=score)]
    fields = {"label": "ape", "method": "ape", "kind": "per_pair", "version": 1, "seed": 0, "pairs": [("i", key)]}
    fields |= {"key": key, "status": "done", "metrics": metrics, "ledger": NOTHING_SPENT}
    return CellRecord(**(fields | changes))  # type: ignore[arg-type]


class Screen:
    """A console of a file, and the last line on it."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        self.console = Console(file=self.text, width=200)

    @property
    def last(self) -> str:
        return self.text.getvalue().strip().splitlines()[-1]


@pytest.mark.parametrize(("higher", "best"), [(True, "i x b 0.900"), (False, "i x a 0.200")])
def test_it_counts_what_ended_and_names_the_best_pair_by_the_metrics_sign(higher: bool, best: str) -> None:
    screen = Screen()
    with LiveLine(Waiting({"ape": 3}, 4, higher), screen.console) as line:
        for key, score in (("a", 0.2), ("b", 0.9), ("c", 0.5)):
            line.started(cell(key))
            line.finished(record(key, score))
    assert screen.last == f"cells 7/7 done · 0 failed · 0 running · best {best} (ape, validation)"


def test_what_failed_is_not_done_and_is_kept_for_the_end() -> None:
    screen = Screen()
    with LiveLine(Waiting({"ape": 2}, 0, True), screen.console) as line:
        line.started(cell("a"))
        line.finished(record("a", status="failed", error="no"))
        line.started(cell("b"))
        line.finished(record("b", 0.5))
    assert screen.last.startswith("cells 1/2 done · 1 failed · 0 running · best i x b")
    assert [bad.key for bad in line.bad] == ["a"]


def test_a_training_free_score_is_no_best_pair() -> None:
    """It is on another scale than the connectors' scores."""
    screen = Screen()
    with LiveLine(Waiting({"ape": 1}, 0, True), screen.console) as line:
        line.finished(record("a", 123.0, kind="score"))
    assert screen.last == "cells 1/1 done · 0 failed · 0 running"


def test_rungs_that_are_decided_on_the_way_raise_the_total() -> None:
    screen = Screen()
    with LiveLine(Waiting({"ape": 1}, 0, True), screen.console) as line:
        for key in ("a", "b"):
            line.started(cell(key))
            line.finished(record(key, 0.5))
        line.started(cell("c"))
    assert screen.last.startswith("cells 2/3 done · 0 failed · 1 running")


def test_a_plain_line_counts_the_cell_that_follows_the_one_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cli.live.PLAIN_EVERY_S", -1.0)
    screen = Screen()
    with LiveLine(Waiting({"ape": 3}, 0, True), screen.console) as line:
        line.started(cell("a"))
        line.started(cell("b"))
        line.finished(record("a", 0.5))
        line.started(cell("c"))
        assert screen.last.startswith("cells 1/3 done · 0 failed · 2 running")


def test_an_interrupt_still_leaves_the_count() -> None:
    screen = Screen()
    with pytest.raises(KeyboardInterrupt), LiveLine(Waiting({"ape": 5}, 1, True), screen.console) as line:
        line.finished(record("a", 0.1))
        raise KeyboardInterrupt
    assert "cells 2/6 done" in screen.last


def test_no_rich_markup_is_read_out_of_names() -> None:
    screen = Screen()
    with LiveLine(Waiting({"ape": 1}, 0, True), screen.console) as line:
        line.finished(record("a", 0.5, metrics=[PairMetrics(image="[red]i", text="t[/]", score=0.5)]))
    assert "best [red]i x t[/] 0.500" in screen.last


def test_before_the_first_cell_it_says_that_workers_start() -> None:
    screen = Screen()
    with LiveLine(Waiting({"ape": 2}, 0, True), screen.console):
        pass
    assert screen.last == "cells 0/2 done · 0 failed · 0 running · starting workers"


def test_the_time_left_counts_what_has_run_and_not_the_wait_before_it() -> None:
    """Two of four cells at 30 s each are left for ape; hyma, of which none has run, costs ten times its FLOPs."""
    screen = Screen()
    waiting = Waiting({"ape": 4, "hyma": 1}, 0, True, lambda: {"ape": 1e9, "hyma": 1e10})
    with LiveLine(waiting, screen.console) as line:
        for key in ("a", "b"):
            line.started(cell(key))
            line.finished(record(key, 0.5, wall_s=30.0))
    assert "ETA 6:00" in screen.last


def test_cells_that_run_at_once_share_the_time_left() -> None:
    screen = Screen()
    with LiveLine(Waiting({"ape": 4}, 0, True), screen.console) as line:
        for key in ("a", "b"):
            line.started(cell(key))
        for key in ("a", "b"):
            line.finished(record(key, 0.5, wall_s=30.0))
    assert "ETA 0:30" in screen.last
