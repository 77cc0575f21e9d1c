"""One sweep of a run at a time: a lock that is a blob, made by a put that fails when the name exists.

Who holds the lock writes a heartbeat into it. A lock is stale when its owner's process is gone (told by its number and
start, on the same machine), or, elsewhere, when its heartbeat is old *and* none comes while it is watched: a clock that
jumps, or that goes wrong on one of two machines, takes no lock from anybody who lives. A stale lock is taken over. Of
several that want to, one does: each takes a lock over the stale lock first, by the same rules.
"""

import contextlib
import logging
import os
import socket
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError

from harness.contract.record import Record
from harness.contract.sealed import NotWhole, sealed, sha256_of, unsealed
from harness.errors import HarnessError
from harness.storage.blobs import BlobExists, Blobs, NoBlob

LOCK = "lock.json"
BEAT_S, STALE_S, WATCH_S = 10.0, 60.0, 30.0
"""Seconds between two heartbeats; age of one that may be the last; how long an old lock is watched for another."""

_log = logging.getLogger(__name__)


class LockOwner(Record):
    """Who holds a lock.

    Attributes:
        owner: A name of its own, new with every lock.
        host: Name of the machine.
        machine: Tells its boots and containers apart: a process number means something within one only.
        pid: The process.
        pid_started: When it began, by the system's own count; tells it from a later one with its number.
        started: When the lock was made.
        beats: Heartbeats so far.
        beat: When the last one was.
    """

    owner: str
    host: str
    machine: str
    pid: int
    pid_started: str
    started: datetime
    beats: int = 0
    beat: datetime

    def __str__(self) -> str:
        if not self.pid:
            return "somebody whose lock cannot be read"
        return f"process {self.pid} on {self.host}, since {self.started.astimezone():%Y-%m-%d %H:%M:%S}"


class LockHeld(HarnessError):
    """Another sweep of the run is going on."""


class RunLock:
    """The lock of one run, as a context manager: entering fails if it is held, ``acquire`` takes it, leaving frees it.

    Args:
        blobs: The run.
        beat_s: Seconds between two heartbeats.
        stale_s: Age of a heartbeat that may be the last.
        watch_s: How long an old lock is watched for another heartbeat.
    """

    def __init__(
        self, blobs: Blobs, *, beat_s: float = BEAT_S, stale_s: float = STALE_S, watch_s: float = WATCH_S
    ) -> None:
        self._blobs, self._beat_s, self._stale_s, self._watch_s = blobs, beat_s, stale_s, watch_s
        self._own, self._held, self._done = _this_process(), False, threading.Event()
        self._lost: LockOwner | None = None
        self._beating = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.taken_over: LockOwner | None = None
        """Whose stale lock was taken."""

    def __enter__(self) -> "RunLock":
        """Look, and take nothing: a sweep that is refused for another reason leaves no trace.

        Raises:
            LockHeld: Somebody who lives holds it.
        """
        found = self._read(LOCK)
        if found is not None and self._fresh(found):
            raise self._refused(found)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._held:
            return
        self._done.set()
        self._beating.join()
        with contextlib.suppress(HarnessError):  # the storage is gone, and the lock with it
            if self._is_own(self._read(LOCK)):
                self._blobs.delete(LOCK)

    def acquire(self) -> None:
        """Take it.

        Raises:
            LockHeld: Somebody who lives holds it.
        """
        self._acquire(LOCK)
        self._held = True
        self._beating.start()

    def check(self) -> None:
        """Fail if it was taken over: this process stood still for so long that others took it for dead.

        Raises:
            LockHeld: It was.
        """
        if self._lost is not None:
            raise self._refused(self._lost)

    def _acquire(self, name: str) -> None:
        while True:
            try:
                self._blobs.put_new(name, sealed(self._own))
                return
            except BlobExists:
                found = self._read(name)
            if found is None:
                continue  # freed in the meantime
            if self._alive(name, found):
                raise self._refused(found)
            guard = f"{name.removesuffix('.json')}.after-{found.owner}.json"
            self._acquire(guard)
            try:
                again = self._read(name)
                if again is not None and again.owner == found.owner:
                    self._blobs.put(name, sealed(self._own))
                    self.taken_over = found if name == LOCK else self.taken_over
                    return
            finally:
                self._blobs.delete(guard)

    def _alive(self, name: str, found: LockOwner) -> bool:
        """Whether the owner lives; where only heartbeats tell, an old lock is watched for one."""
        if found.machine == self._own.machine:
            return _runs(found)
        if self._fresh(found):
            return True
        _log.info("watching the lock of %s", found)
        until = time.monotonic() + self._watch_s
        while time.monotonic() < until:
            time.sleep(min(1.0, self._watch_s / 10))
            again = self._read(name)
            if again is None or again != found:
                return again is not None
        return False

    def _fresh(self, found: LockOwner) -> bool:
        """Whether the owner lives without doubt: no waiting."""
        if found.machine == self._own.machine:
            return _runs(found)
        return 0 <= (datetime.now(UTC) - found.beat).total_seconds() < self._stale_s

    def _beat(self) -> None:
        while not self._done.wait(self._beat_s):
            with contextlib.suppress(HarnessError):  # the next one may succeed
                found = self._read(LOCK)
                if found is not None and not self._is_own(found):
                    self._lost = found
                    return
                if found is not None:  # where it is gone, the run is: putting would make its folder anew
                    news = {"beats": found.beats + 1, "beat": datetime.now(UTC)}
                    self._blobs.put(LOCK, sealed(found.model_copy(update=news)))

    def _is_own(self, found: LockOwner | None) -> bool:
        return found is not None and found.owner == self._own.owner

    def _read(self, name: str) -> LockOwner | None:
        """Whose lock it is; one that cannot be read is nobody's, and old."""
        try:
            data = self._blobs.get(name)
        except NoBlob:
            return None
        try:
            return LockOwner.model_validate(unsealed(data))
        except (NotWhole, ValidationError):
            long_ago = datetime.fromtimestamp(0, UTC)
            values = {"host": "?", "machine": "?", "pid": 0, "pid_started": "", "started": long_ago, "beat": long_ago}
            return LockOwner(owner=sha256_of(data)[:16], **values)

    def _refused(self, found: LockOwner) -> LockHeld:
        what = f"another sweep of this run is going on: {found}"
        fix = "wait for it or stop it; harness status shows how far it is"
        return LockHeld(what, where=self._blobs.where, fix=fix)


def _this_process() -> LockOwner:
    now = datetime.now(UTC)
    return LockOwner(
        owner=uuid.uuid4().hex,
        host=socket.gethostname(),
        machine=_machine(),
        pid=os.getpid(),
        pid_started=_started(os.getpid()) or "",
        started=now,
        beat=now,
    )


def _machine() -> str:
    """Within which process numbers are unique: one boot of one machine, and one container of it."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """When a process began, "" where that cannot be told; None when it has ended, also if it is still listed."""
    try:
        # The name, in parentheses, may hold spaces and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "" if _answers(pid) else None
    return None if fields[0] in "ZX" else fields[19]


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _runs(owner: LockOwner) -> bool:
    started = _started(owner.pid)
    return started is not None and started in ("", owner.pid_started)
