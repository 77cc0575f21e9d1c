"""A sweep in a process of its own, and the most anonymous memory that it ever held.

``python -m tests.benchmarks.anonymous SWEEP`` runs ``harness sweep SWEEP`` and prints the peak of ``RssAnon`` in bytes.
Pages of memory-mapped files do not count: the system takes them back when it needs them. Linux only.
"""

import subprocess
import sys
import threading
from pathlib import Path

EVERY_S = 0.01


def rss_anon() -> int:
    """Anonymous memory that this process holds now, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


class PeakMemory:
    """The largest ``RssAnon`` while it is open, sampled from a thread."""

    def __init__(self) -> None:
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._over.set()
        self._thread.join()
        self.peak = max(self.peak, rss_anon())

    def _sample(self) -> None:
        while not self._over.wait(EVERY_S):
            self.peak = max(self.peak, rss_anon())


def peak_of_sweep(sweep: Path) -> int:
    """Peak of a sweep's anonymous memory in bytes; the sweep runs in a child process."""
    command = [sys.executable, "-m", "tests.benchmarks.anonymous", str(sweep)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.splitlines()[-1])


def main() -> None:
    """Run the sweep of the command line in this process."""
    from typer.testing import CliRunner

    from harness.cli.app import app

    with PeakMemory() as memory:
        done = CliRunner().invoke(app, ["sweep", sys.argv[1], "--backend", "serial"])
    if done.exit_code:
        sys.exit(f"{done.output}\n{done.exception}")
    sys.stdout.write(f"{memory.peak}\n")


if __name__ == "__main__":
    main()
