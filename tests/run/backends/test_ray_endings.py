"""Under Ray: methods that hang, crash or would end the process cost their own cell and nothing else."""

from pathlib import Path

import pytest

from harness.run.backends.last_words import crash, how_it_died, hung, last_words
from tests.ending import METHOD, sweep_of


def test_last_words_go_with_the_cell_that_ended(tmp_path: Path) -> None:
    with last_words(tmp_path / "words", "key"):
        assert (tmp_path / "words" / "key").exists()
    assert list((tmp_path / "words").iterdir()) == []
    assert not hung(tmp_path / "words", "key")
    assert crash(tmp_path / "words", "key") is None


def test_a_crash_is_told_by_the_thread_that_crashed(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(
        "Fatal Python error: Segmentation fault\n\n"
        'Thread 0x01 (most recent call first):\n  File "/lib/threading.py", line 331 in wait\n\n'
        'Current thread 0x02 (most recent call first):\n  File "/a b/slow.py", line 12 in fit\n'
    )
    assert crash(tmp_path, "key") == (
        "the method crashed its worker process: Segmentation fault, in fit (slow.py, line 12)"
    )
    (tmp_path / "key").write_text("Fatal Python error: Aborted\n")
    assert crash(tmp_path, "key") == "the method crashed its worker process: Aborted"
    (tmp_path / "key").write_text("Timeout (0:00:19)!\nThread 0x01 (most recent call first):\n")
    assert hung(tmp_path, "key")


@pytest.mark.parametrize(
    ("trace", "told"),
    [
        ("", "the worker process died"),
        ('ray::f()\n  File "a.py", line 3, in f\nKeyError: 1', "KeyError: 1"),
        (
            "Task was killed due to the node running low on memory.\nMore.",
            "the worker process was ended because its node",
        ),
    ],
)
def test_what_ray_says_of_a_lost_worker_is_one_line(trace: str, told: str) -> None:
    assert how_it_died(trace).startswith(told)
    assert "\n" not in how_it_died(trace)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_whatever_a_method_does_the_others_go_on_and_each_is_told_in_one_line(temp_project, without_plots) -> None:
    hows = ("well", "exit", "interrupt", "odd", "memory", "long", "sleep", "stubborn", "hold")
    dead = ("vanish", "segfault", "abort", "killed")
    temp_project.write("ending.py", METHOD)
    temp_project.write("endings.yaml", sweep_of(*hows, *dead, timeout_s=15))
    code, out, err = temp_project.invoke("sweep", "endings.yaml")
    assert code == 1, out + err
    assert "Traceback" not in out + err
    assert max(map(len, out.splitlines())) < 2_000
    plan = temp_project.plan("endings.yaml")
    store = temp_project.store(plan)
    records = {cell.label: store.record(cell.key) for cell in plan.cells}
    said = {label: (record.status, record.error or "") for label, record in records.items()}
    assert said["well"] == ("done", "")
    assert said["exit"] == ("failed", "the method raised SystemExit: 0, which ends processes")
    assert said["interrupt"] == ("failed", "the method raised KeyboardInterrupt, which ends processes")
    assert said["odd"] == ("failed", "the method raised Odd: neither fish nor flesh, which ends processes")
    assert said["memory"] == ("failed", "out of memory: MemoryError")
    assert said["long"][1].startswith("RuntimeError: HEADxxx")
    late = "stopped after 17 s: its limit is 15 s, and it did not report progress since"
    assert [said[how] for how in ("sleep", "stubborn", "hold")] == [("timeout", late)] * 3
    assert records["sleep"].ledger.total > 0
    crashed = "the method crashed its worker process: "
    assert said["segfault"][1].startswith(f"{crashed}Segmentation fault, in string_at (__init__.py, line ")
    assert said["abort"][1].startswith(f"{crashed}Aborted, in abort (ending.py, line ")
    for how in ("vanish", "killed"):
        assert said[how][0] == "failed"
        assert said[how][1].startswith("the worker process died (out of memory?): ")
    assert all("\n" not in error for _, error in said.values())
    left = {path.relative_to(store.where).parts[0] for path in Path(store.where).rglob("*") if path.is_file()}
    assert left == {"cells", "connectors", "logs", "manifest.json", "report"}
    assert "Odd: neither fish nor flesh" in Path(store.log_of(records["odd"].key) or "").read_text()
    assert store.log_of(records["well"].key) is None

    kept = records["well"]
    temp_project.write("calm", "")
    code, out, err = temp_project.invoke("sweep", "endings.yaml")
    assert code == 0, out + err
    assert {store.record(cell.key).status for cell in plan.cells} == {"done"}
    assert store.record(kept.key) == kept
    assert not any((Path(store.where) / "logs").iterdir())
