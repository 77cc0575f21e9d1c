"""Banks by Ray actors: each embeds one part at a time, on any node, and the driver writes the parts.

A part is the same rows in the same batches as in a serial extraction, and a bank is put together in the order of its
rows, so it matters neither who embedded what nor when. An actor that is lost costs its part another try.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from harness.data.embedding import EmbeddedPart, Embedder, EmbeddingWork, LocalEmbedder, OpenEmbedder
from harness.data.parts import Rows, SourceNotes
from harness.errors import HarnessError
from harness.run.backends.ray_cluster import cluster
from harness.run.interrupts import interrupted, stoppable
from harness.run.threads import exact_threads
from harness.sweep.config import BankResources, Sweep
from harness.sweep.resolve import ResolvedSweep

TRIES = 3
"""Times that a part is given to an actor which is lost with it; the third loss ends the extraction."""

LOOK_S = 0.5
"""Seconds between two looks for a wish to stop."""

BankKey = tuple[str, str, str]
"""Dataset digest, modality, encoder id: as in ``ResolvedSweep.banks``."""


class PartWorker:
    """What runs in an actor: the sweep's encoders, one at a time.

    Args:
        sweep: The sweep as plain values.
        cpus: Threads that it computes with.
    """

    def __init__(self, sweep: Mapping[str, Any], cpus: float) -> None:
        self._sweep = Sweep.model_validate(sweep)
        self._resolved = ResolvedSweep(self._sweep)
        self._cpus = cpus
        self._open: tuple[BankKey, LocalEmbedder] | None = None

    def source(self, key: BankKey) -> SourceNotes:
        """Load the bank's encoder, unless it is loaded; what its rows are made by."""
        if self._open is None or self._open[0] != key:
            self._open = None  # two encoders need not fit beside each other
            bank, request = self._sweep.bank, self._resolved.banks[key]  # type: ignore[index]  # a Modality
            work = EmbeddingWork(
                request.dataset, request.spec, request.info, request.dtype, bank.batch_size, bank.device
            )
            with exact_threads(self._cpus):
                self._open = key, LocalEmbedder(work)
        return self._open[1].source

    def embed(self, key: BankKey, rows: Rows) -> tuple[EmbeddedPart, str]:
        """One part, and the digest of the weights that made it."""
        weights = self.source(key).weights
        assert self._open is not None, "source opens it"
        with exact_threads(self._cpus):
            (part,) = self._open[1].parts([rows], lambda rows: None)
        return part, weights


@contextmanager
def by_actors(sweep: Sweep, address: str | None, code: str) -> Iterator[OpenEmbedder]:
    """Embed on a cluster, with ``bank.workers`` actors that hold ``bank.resources`` each.

    Args:
        sweep: The sweep.
        address: Cluster to join; None: one on this machine.
        code: What its workers import.

    Raises:
        HarnessError: No node can hold an actor.
    """
    with stoppable(), cluster(address, code):
        actors = _Actors(sweep, sweep.bank.workers or _capacity(sweep.bank.resources))

        @contextmanager
        def opened(work: EmbeddingWork) -> Iterator[Embedder]:
            yield _OnActors(actors, (work.dataset.digest, work.info.modality, work.spec.id))

        try:
            yield opened
        finally:
            actors.end()


def _capacity(wanted: BankResources) -> int:
    """Actors that the nodes have room for."""
    room = 0
    for node in ray.nodes():
        has = node["Resources"] if node["Alive"] else {}
        fits = has.get("CPU", 0) // wanted.cpu
        room += int(min(fits, has.get("GPU", 0) // wanted.gpu) if wanted.gpu else fits)
    if not room:
        raise HarnessError(
            f"asks for {wanted.cpu:g} CPU and {wanted.gpu:g} GPU, which no node of the Ray cluster has",
            where="bank.resources",
            fix="ask for less, or join a larger cluster with --address",
        )
    return room


class _Actors:
    """Actors for all banks of a sweep, started when they are needed.

    Args:
        sweep: The sweep.
        most: Most actors at a time.
    """

    def __init__(self, sweep: Sweep, most: int) -> None:
        wanted = sweep.bank.resources
        _capacity(wanted)
        self._made = ray.remote(PartWorker).options(num_cpus=wanted.cpu, num_gpus=wanted.gpu)
        self._arguments = (sweep.model_dump(mode="json"), wanted.cpu)
        self._all: list[Any] = []
        self.idle: list[Any] = []
        self.most = most

    def take(self) -> Any | None:
        """One that has nothing to do; None if all have."""
        if not self.idle and len(self._all) < self.most:
            self._all.append(self._made.remote(*self._arguments))
            self.idle.append(self._all[-1])
        return self.idle.pop() if self.idle else None

    def lose(self, actor: Any) -> None:
        """Forget one that is gone."""
        self._all.remove(actor)

    def end(self) -> None:
        """End all of them."""
        for actor in self._all:
            with suppress(Exception):  # of a cluster that is gone
                ray.kill(actor)


class _OnActors:
    """One bank's rows, embedded by actors."""

    def __init__(self, actors: _Actors, key: BankKey) -> None:
        self._actors, self._key = actors, key
        self.source = self._ask_source()

    def _ask_source(self) -> SourceNotes:
        for left in reversed(range(TRIES)):
            actor = self._actors.take()
            assert actor is not None, "between two banks all are idle"
            try:
                found = _result(actor.source.remote(self._key))
                self._actors.idle.append(actor)
                return found
            except RayActorError as error:
                self._actors.lose(actor)
                if not left:
                    raise _given_up(self._key, error) from error
        raise AssertionError("the last try returns or raises")

    def parts(self, wanted: Sequence[Rows], report: Callable[[int], None]) -> Iterator[EmbeddedPart]:
        """See ``Embedder``."""
        waiting, running, lost = deque(range(len(wanted))), {}, Counter[int]()
        while waiting or running:
            while waiting and (actor := self._actors.take()) is not None:
                number = waiting.popleft()
                running[actor.embed.remote(self._key, wanted[number])] = actor, number
            for done in _first(list(running)):
                actor, number = running.pop(done)
                try:
                    part, weights = _result(done)
                except RayActorError as error:
                    self._actors.lose(actor)
                    lost[number] += 1
                    if lost[number] == TRIES:
                        raise _given_up(self._key, error) from error
                    waiting.appendleft(number)
                    continue
                self._actors.idle.append(actor)
                if weights != self.source.weights:
                    what = f"two nodes load different weights for it: {self.source.weights} and {weights}"
                    raise HarnessError(what, where=self._key[2], fix="give it a revision")
                yield part
                report(len(part.rows))


def _first(running: list[Any]) -> list[Any]:
    """The next results; asks now and then whether to stop."""
    while True:
        if interrupted():
            raise KeyboardInterrupt
        done, _ = ray.wait(running, num_returns=1, timeout=LOOK_S)
        if done:
            return done


def _result(reference: Any) -> Any:
    """What an actor returned; an error of ours is raised as it was."""
    (done,) = _first([reference])
    try:
        return ray.get(done)
    except RayTaskError as error:
        if isinstance(error.cause, HarnessError):
            raise HarnessError(error.cause.what, where=error.cause.where, fix=error.cause.fix) from error
        raise


def _given_up(key: BankKey, error: RayActorError) -> HarnessError:
    told = (str(error).strip().splitlines() or [""])[0]
    what = f"{TRIES} workers were lost while they embedded the same rows (out of memory?): {told}"
    return HarnessError(what, where=key[2], fix="a smaller bank.batch_size, or more bank.resources")
