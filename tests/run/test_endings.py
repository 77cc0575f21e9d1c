"""Methods that hang, or would end the process: a record in our words, and the other cells go on."""

import signal
import threading
import time

import pytest
import torch

from harness.run.records import CellRecord
from harness.run.stopping import missing
from harness.run.texts import ERROR_CHARS, TRACE_CHARS, cut, told
from harness.run.watchdog import CellTimeout, alarmed, doomed
from tests.conftest import Project
from tests.ending import METHOD, sweep_of


def serially(project: Project, *hows: str, timeout_s: float | None = None) -> tuple[int, str, dict[str, CellRecord]]:
    """Exit code, output, and label -> record of a serial sweep."""
    project.write("ending.py", METHOD)
    project.write("endings.yaml", sweep_of(*hows, timeout_s=timeout_s))
    code, out, err = project.invoke("sweep", "endings.yaml", "--backend", "serial")
    assert "Traceback" not in out + err
    plan = project.plan("endings.yaml")
    store = project.store(plan)
    return code, out, {cell.label: store.record(cell.key) for cell in plan.cells}


def test_a_method_that_would_end_the_process_fails_and_the_others_go_on(temp_project, without_plots) -> None:
    code, out, records = serially(temp_project, "well", "exit", "interrupt", "odd", "memory", "tensor", "long")
    assert code == 1
    said = {label: record.error for label, record in records.items() if record.status == "failed"}
    assert said["exit"] == "the method raised SystemExit: 0, which ends processes"
    assert said["interrupt"] == "the method raised KeyboardInterrupt, which ends processes"
    assert said["odd"] == "the method raised Odd: neither fish nor flesh, which ends processes"
    assert said["memory"] == "out of memory: MemoryError"
    assert (said["tensor"] or "").startswith("out of memory: RuntimeError: ")
    assert records["well"].status == "done"
    long = records["long"]
    assert len(long.error or "") == ERROR_CHARS
    assert (long.error or "").startswith("RuntimeError: HEADxxx")
    assert (long.error or "").endswith("xxxTAIL")
    assert "characters left out" in (long.error or "")
    assert len(long.traceback or "") == TRACE_CHARS
    assert max(map(len, out.splitlines())) < 2 * ERROR_CHARS
    temp_project.write("calm", "")
    code, out, records = serially(temp_project, "well", "exit", "interrupt", "odd", "memory", "tensor", "long")
    assert (code, {record.status for record in records.values()}) == (0, {"done"})


def test_a_method_that_hangs_is_stopped_after_its_limit_and_the_others_go_on(temp_project, without_plots) -> None:
    code, out, records = serially(temp_project, "sleep", "stubborn", "well", timeout_s=0.5)
    assert code == 1
    told = "stopped after 2.5 s: its limit is 0.5 s, and it did not report progress since"
    assert [(records[how].status, records[how].error) for how in ("sleep", "stubborn")] == [("timeout", told)] * 2
    assert records["sleep"].ledger.total > 0, "what it spent is booked"
    assert records["well"].status == "done"
    assert f"timeout: sleep seed 0 image00 x text00: {told}" in out
    plan = temp_project.plan("endings.yaml")
    assert {cell.label for cell in missing(plan, temp_project.store(plan))} == {"sleep", "stubborn"}


def test_an_alarm_of_somebody_elses_is_set_again() -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    delay, interval = signal.setitimer(signal.ITIMER_REAL, 200, 100)
    try:
        with pytest.raises(CellTimeout, match="stopped after 2.01 s"), alarmed(0.01):
            time.sleep(60)
        left, again = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < left < 200
        assert again == 100
        with alarmed(None):
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 3
        assert rung == []
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, delay, interval)


def test_a_cell_that_ends_in_time_dooms_nobody() -> None:
    acts: list[str] = []
    before = threading.active_count()
    with doomed(1000, acts.append):
        assert threading.active_count() == before + 1
    with doomed(None, acts.append):
        pass
    assert acts == []


@pytest.mark.parametrize("length", [0, 99, 100, 101, 5_000_000])
def test_a_cut_text_has_its_head_its_tail_and_no_more_than_it_may(length: int) -> None:
    text = "".join(chr(97 + n % 26) for n in range(length))
    short = cut(text, 100)
    assert len(short) == min(length, 100)
    assert short == text if length <= 100 else (text.startswith(short[:30]) and text.endswith(short[-10:]))


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError


def test_what_was_raised_is_one_line() -> None:
    assert told(RuntimeError("first line\nsecond")) == "RuntimeError: first line"
    assert told(RuntimeError("\n  \n the line\nafter")) == "RuntimeError: the line"
    assert told(RuntimeError()) == "RuntimeError"
    assert told(Mute()) == "Mute: (its text cannot be read)"
    assert told(torch.OutOfMemoryError("CUDA out of memory")).startswith("out of memory: OutOfMemoryError")
