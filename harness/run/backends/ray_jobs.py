"""Handing a sweep to the job server of a Ray cluster, which goes on with it when this machine is gone."""

import logging
import shlex
from collections.abc import Mapping, Sequence

from harness.contract.plugins import SHIPPED
from harness.errors import HarnessError
from harness.run.backends.code import packed
from harness.run.backends.ray_cluster import use_token

HERE = "http://127.0.0.1:8265"
"""Where ``ray start --head`` has its job server, if not told otherwise."""

EXTRA = "pip install 'stitch-harness[cluster]' here and on the head node"


def submit(arguments: Sequence[str], *, address: str | None, code: str, beside: Mapping[str, bytes]) -> tuple[str, str]:
    """Start ``harness ARGUMENTS`` as a job; its driver and its workers import the code that is shipped with it.

    Args:
        arguments: Of the command. Files in ``beside`` are named below ``harness_shipped/``.
        address: The job server, ``http://HEAD:8265``; None: on this machine.
        code: ``ship``, ``installed`` or a wheel.
        beside: Files that go with the code: name to content.

    Returns:
        The job's id, and where its server is.

    Raises:
        HarnessError: No job server answers, it refuses, or what it needs is not installed.
    """
    where = address or HERE
    if not where.startswith(("http://", "https://")):
        fix = f"jobs are handed to the dashboard of the head node, e.g. {HERE}"
        raise HarnessError(f"{where!r} is not written http://HOST:PORT", where="--address", fix=fix)
    use_token()
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.ERROR)
    command = shlex.join(["python", "-m", "harness", *arguments])
    try:
        with packed(code, beside) as file:
            client = JobSubmissionClient(where)
            job = client.submit_job(entrypoint=command, runtime_env={"working_dir": str(file)})
    except ConnectionError as error:
        fix = f"ray start --head --include-dashboard=true; {EXTRA}"
        raise HarnessError(f"no job server answers at {where}", where="--submit", fix=fix) from error
    except ImportError as error:
        raise HarnessError(f"handing in jobs needs more of Ray: {error}", where="--submit", fix=EXTRA) from error
    except (RuntimeError, ValueError) as error:
        told = (str(error).strip().splitlines() or [""])[-1]
        raise HarnessError(f"the job server at {where} refuses: {told}", where="--submit", fix=EXTRA) from error
    return job, where


def shipped(name: str) -> str:
    """The path of a file of ``beside``, for a job's arguments."""
    return f"{SHIPPED}/{name}"
