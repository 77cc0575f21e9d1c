"""A Ray cluster of several raylets on this machine, started as a user starts one, for tests."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

MARK = "HARNESS_TESTS_NODE"
"""An environment variable that every process of a node inherits."""

BIN = Path(sys.executable).parent


class Raylets:
    """A head and further nodes, each started by ``ray start``, with token authentication.

    Their environment has no ``PYTHONPATH`` and their folder is another than that of any code, so what their workers
    import is what they have installed, or what is shipped to them.

    Args:
        dashboard: Whether the head has its job server.
    """

    def __init__(self, *, dashboard: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hc", dir="/tmp"))  # sockets have short paths
        token = self.folder / "token"
        token.write_text(uuid.uuid4().hex * 2)
        self.port, self.dashboard_port = free_port(), free_port()
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and "RAY" not in name}
        path = f"{BIN}{os.pathsep}{kept.get('PATH', '')}"
        own = {"RAY_AUTH_TOKEN_PATH": str(token), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        self.environment = kept | own | {"PATH": path, "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1"}
        self.nodes: list[str] = []
        self._dashboard = dashboard

    @property
    def address(self) -> str:
        """Of the head."""
        return f"127.0.0.1:{self.port}"

    @property
    def dashboard(self) -> str:
        """Of the head's job server."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def start(self, nodes: int) -> None:
        """Start the head, then the others, with one CPU each."""
        head = [
            "--head",
            f"--port={self.port}",
            f"--include-dashboard={str(self._dashboard).lower()}",
            f"--dashboard-port={self.dashboard_port}",
            f"--ray-client-server-port={free_port()}",
            f"--temp-dir={self.folder / 'ray'}",
        ]
        self._start(head)
        for _ in range(nodes - 1):
            self._start([f"--address={self.address}"])

    def _start(self, options: list[str]) -> None:
        name = f"{self.folder.name}-{len(self.nodes)}"
        first = 20_000 + os.getpid() % 50 * 200 + 60 * len(self.nodes)  # below what the system gives away
        command = [
            str(BIN / "ray"),
            "start",
            "--num-cpus=1",
            "--node-ip-address=127.0.0.1",
            "--disable-usage-stats",
            "--object-store-memory=100000000",
            f"--dashboard-agent-listen-port={free_port()}",
            f"--min-worker-port={first}",
            f"--max-worker-port={first + 59}",
            *options,
        ]
        self.nodes.append(name)
        log = self.folder / f"{name}.log"
        for left in (1, 0):  # Ray gives its own processes 30 s to start, which a busy machine may not keep
            with log.open("w") as out:
                done = subprocess.run(
                    command,
                    cwd=self.folder,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=self.environment | {MARK: name},
                    timeout=400,
                )
            if done.returncode == 0:
                return
            self._end(len(self.nodes) - 1)
            assert left, log.read_text()

    def processes(self, name: str = "", node: int | None = None) -> list[int]:
        """Numbers of the processes with this name, on one node or all."""
        marks = [f"{MARK}={mark}".encode() for n, mark in enumerate(self.nodes) if node in (None, n)]
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                environment = (process / "environ").read_bytes().split(b"\0")
                if any(mark in environment for mark in marks) and name in (process / "comm").read_text():
                    found.append(int(process.name))
        return found

    def kill(self, node: int) -> None:
        """SIGKILL of a node's raylet: its workers end when they notice."""
        for process in self.processes("raylet", node):
            os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        """End every process that was started here."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, node: int | None = None) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 20
            while (left := self.processes(node=node)) and time.monotonic() < deadline:
                for process in left:
                    with suppress(OSError):
                        os.kill(process, number)
                time.sleep(0.5)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
