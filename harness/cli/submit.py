"""``harness sweep --submit``: the same sweep as a job of a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli.common import planned_anyhow, stdout, store_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.sweep.config import Sweep

FILE = "sweep.yaml"


def submit_sweep(config: Sweep, path: Path, options: Sequence[str], *, address: str | None, code: str) -> None:
    """Hand the sweep in, and say how to follow it.

    It is planned here first, so that a mistake in it is told at once. Data that only the cluster sees may be absent.

    Args:
        config: The checked sweep file.
        path: The sweep file.
        options: Further options of the job's ``harness sweep``.
        address: The job server.
        code: What the job imports.
    """
    planned_anyhow(config)
    from harness.run.backends.ray_jobs import shipped, submit

    run = store_of(config).where
    arguments = ["sweep", shipped(FILE), "--lies-at", str(config.source), "--address", "auto", *options]
    arguments += ["--storage", run.rpartition("/")[0]]
    job, where = submit(arguments, address=address, code=code, beside={FILE: path.read_bytes()})
    for line in (
        f"submitted {job}: it goes on without this machine",
        f"follow it   ray job logs {job} --follow --address {where}",
        f"stop it     ray job stop {job} --address {where}",
        f"status      harness status {run}",
        f"report      harness report {run}",
    ):
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)
