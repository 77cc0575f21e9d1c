"""What a cell's method says is kept beside its record, whole or head and tail, and nothing else is."""

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from harness.run.cell import run_cell
from harness.run.logs import LOG_CHARS, Said, caught, log_text

TALKING = """
    import sys
    import threading
    import warnings
    from dataclasses import dataclass
    from typing import ClassVar

    from baselines.ape import Ape


    @dataclass(frozen=True, kw_only=True)
    class Talking(Ape):
        version: ClassVar[int] = 1
        loud: bool = True

        def fit(self, problem, budget, *, seed, progress):
            if self.loud:
                print("an aside")
                print("a complaint", file=sys.stderr)
                warnings.warn("mind the gap")
                helper = threading.Thread(target=lambda: print("from a thread"))
                helper.start()
                helper.join()
            if problem.pairs[0][0] == "image01":
                raise ValueError("no luck")
            return super().fit(problem, budget, seed=seed, progress=progress)
"""
METHODS = "methods={talk: {method: './talking.py:Talking', epochs: 1, batch_size: 64%s}}"


def test_what_a_method_says_is_kept_for_each_cell_and_shown_nowhere(world, capsys: pytest.CaptureFixture[str]) -> None:
    world.write("talking.py", TALKING)
    plan, store = world.run("world.yaml", METHODS % "", "reference=talk", "seeds=[0]")
    for cell in plan.cells:
        place = store.log_of(cell.key)
        assert place == f"{store.where}/logs/{cell.key}.txt"
        text = Path(place).read_text()
        for said in ("an aside\n", "a complaint\n", "UserWarning: mind the gap\n", "from a thread\n"):
            assert said in text, "each cell hears each warning, not only the first one"
        failed = cell.pairs[0][0] == "image01"
        assert ("ValueError: no luck" in text and "Traceback" in text) == failed
    out, err = capsys.readouterr()
    assert "aside" not in out and "complaint" not in err


def test_nothing_is_kept_of_a_method_that_says_nothing_or_of_a_cell_that_is_dropped(world) -> None:
    world.write("talking.py", TALKING)
    plan, store = world.run("world.yaml", METHODS % ", loud: false", "reference=talk", "seeds=[0]")
    kept = {cell.pairs[0][0] for cell in plan.cells if store.log_of(cell.key)}
    assert kept == {"image01"}, "only the tracebacks of those that failed"
    for cell in plan.cells:
        store.drop_cell(cell.key)
        assert store.log_of(cell.key) is None
    assert run_cell(plan, store, plan.cells[0]).status == "done"


def test_of_a_long_text_head_and_tail_are_kept() -> None:
    said = Said()
    for line in range(200_000):
        said.write(f"line {line}\n")
    assert len(said.text) <= LOG_CHARS + 100
    assert said.text.startswith("line 0\nline 1\n")
    assert said.text.endswith("line 199998\nline 199999\n")
    assert "characters left out" in said.text
    short = Said()
    short.write("a" * LOG_CHARS)
    assert short.text == "a" * LOG_CHARS


def test_other_threads_go_on_to_speak_to_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    may_speak, spoke = threading.Event(), threading.Event()

    def display() -> None:
        may_speak.wait(30)
        print("cells 3/4")
        spoke.set()

    threading.Thread(target=display).start()
    with caught() as log:
        may_speak.set()
        assert spoke.wait(30)
        print("mine")
    assert log.text == "mine\n"
    assert capsys.readouterr().out == "cells 3/4\n"


def test_in_a_process_of_its_own_c_code_is_heard_too(tmp_path: Path) -> None:
    """Also what comes from a process that the method starts; afterwards the descriptors are as they were."""
    code = f"""
import os, sys, subprocess
from pathlib import Path
from harness.run.logs import caught
path = Path({str(tmp_path / "key.log")!r})
with caught(path) as log:
    print("python")
    os.write(1, b"descriptor\\n")
    subprocess.run([sys.executable, "-c", "print('child')"])
    sys.stdout.flush()
    assert "descriptor" in path.read_text(), "there for whoever looks when this process is gone"
print("after")
assert not path.exists()
sys.stderr.write(log.text)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "after\n"
    assert sorted(done.stderr.split()) == ["child", "descriptor", "python"]


def test_warnings_of_before_stay_as_they_were() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with caught():
            warnings.simplefilter("ignore")
        assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("said", "traceback", "kept"),
    [("", None, ""), (" \n", None, ""), ("a\n\n", None, "a\n"), ("a", "T\n", "a\n\nT\n"), ("", "T", "T\n")],
)
def test_what_is_written_down(said: str, traceback: str | None, kept: str) -> None:
    assert log_text(said, traceback) == kept
