"""Errors that a user can act on."""

from __future__ import annotations


class HarnessError(Exception):
    """Bad input: one line that says what is wrong, where, and what to do.

    The CLI prints the message without a traceback and exits with code 2.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__((f"{where}: " if where else "") + what + (f" ({fix})" if fix else ""))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.fix))


class Damaged(HarnessError):
    """A stored file does not hold what was written. A sweep sets it aside and makes it again; others name it."""


class StorageFailed(HarnessError):
    """A file cannot be written: a full disk, a read-only or a vanished storage."""


class MissingData(HarnessError):
    """Files that are not on this machine. What needs no rows (``harness plan``, ``--smoke``) can do without."""


def _rebuild(cls: type[HarnessError], what: str, where: str, fix: str) -> HarnessError:
    return cls(what, where=where, fix=fix)


class Diverged(Exception):
    """Training broke down: a loss or weight that is no longer a number.

    Args:
        step: The step (from 0) at which it was seen.
        reason: What was seen, in a few words.
    """

    def __init__(self, step: int, reason: str) -> None:
        self.step, self.reason = step, reason
        super().__init__(f"diverged at step {step}: {reason}")

    def __reduce__(self) -> tuple[object, ...]:
        return (Diverged, (self.step, self.reason))
