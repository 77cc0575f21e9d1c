"""Weights that a library fetches: from its cache if they are there, else only when their server answers."""

import functools
import logging
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness.errors import HarnessError

T = TypeVar("T")

PROBE_S = 5.0
"""Seconds that a server is given to answer before it counts as unreachable."""


@dataclass(frozen=True)
class WeightSource:
    """Where weights come from.

    Attributes:
        encoder: Id of the encoder, for messages.
        name: The hub's repository or the file's URL.
        url: Address that must answer when the weights are not cached.
        cache: Where they are looked for first.
        cached: Whether they are there.
        fix: How to do without the server.
    """

    encoder: str
    name: str
    url: str
    cache: str
    cached: bool
    fix: str

    def require(self) -> None:
        """Fail within seconds when the weights are neither cached nor to be had.

        Raises:
            HarnessError: One line with what was tried and what to do.
        """
        if self.cached:
            return
        if offline := _offline():
            tried = f"HF_HUB_OFFLINE is set and {self.name} is not in {self.cache}"
        elif not reachable(self.url):
            host = urllib.parse.urlsplit(self.url).netloc
            tried = f"{self.name} is not in {self.cache} and {host} does not answer"
        else:
            return
        how = "unset HF_HUB_OFFLINE, " if offline else ""
        raise HarnessError(f"weights cannot be had: {tried}", where=self.encoder, fix=how + self.fix)

    def load(self, loader: Callable[[], T]) -> T:
        """Run a library's loader: on the cache alone if it holds the weights, else with the network.

        Raises:
            HarnessError: It failed; the line carries the library's reason.
        """
        self.require()
        try:
            if not self.cached:
                return loader()
            with without_network():
                return loader()
        except Exception as error:
            if self.cached and not _offline() and reachable(self.url):  # the cache holds some of the files only
                return guarded(self.encoder, loader, fix=self.fix)
            raise load_error(self.encoder, error, fix=self.fix) from error


def hub_source(
    encoder: str, repo: str, files: tuple[str, ...], *, fix: str, revision: str | None = None, cache: str | None = None
) -> WeightSource:
    """A repository of the Hugging Face hub, cached when any one of these files is."""
    from huggingface_hub import constants, try_to_load_from_cache

    found = [try_to_load_from_cache(repo, name, cache_dir=cache, revision=revision) for name in files]
    where = cache or str(constants.HF_HUB_CACHE)
    fix = f"{fix}, or set HF_HOME to a cache that holds it"
    return WeightSource(encoder, repo, constants.ENDPOINT, where, any(isinstance(path, str) for path in found), fix)


def url_source(encoder: str, url: str, folder: Path, *, fix: str) -> WeightSource:
    """A file behind a plain URL, cached when a file of its name lies in the folder."""
    cached = (folder / Path(urllib.parse.urlsplit(url).path).name).is_file()
    return WeightSource(encoder, url, url, str(folder), cached, fix)


def load_error(encoder: str, error: Exception, *, fix: str) -> HarnessError:
    """One line for whatever a library raised."""
    if isinstance(error, HarnessError):
        return error
    lines = str(error).strip().splitlines() or [""]
    return HarnessError(f"cannot be loaded: {type(error).__name__}: {lines[0][:300]}", where=encoder, fix=fix)


def guarded(encoder: str, loader: Callable[[], T], *, fix: str = "") -> T:
    """Run a library's loader; whatever it raises becomes one line.

    Raises:
        HarnessError: It failed.
    """
    try:
        return loader()
    except Exception as error:
        raise load_error(encoder, error, fix=fix) from error


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) or os.environ.get("TRANSFORMERS_OFFLINE", "").upper() in {"1", "TRUE", "YES"}


@contextmanager
def without_network() -> Iterator[None]:
    """The Hugging Face libraries use their cache alone inside: no request, no minute of retries."""
    from huggingface_hub import constants

    before, logger = constants.HF_HUB_OFFLINE, logging.getLogger("huggingface_hub")
    level = logger.level
    constants.HF_HUB_OFFLINE = True
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        logger.setLevel(level)


def reachable(url: str) -> bool:
    """Whether the server of this URL answers at all, asked once per process and server."""
    parts = urllib.parse.urlsplit(url)
    return _answers(f"{parts.scheme}://{parts.netloc}")


@functools.cache
def _answers(server: str) -> bool:
    answer: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(server, method="HEAD"), timeout=PROBE_S).close()
            answer.append(True)
        except urllib.error.HTTPError:
            answer.append(True)  # it spoke, if only to refuse a bare HEAD
        except Exception:
            answer.append(False)

    # A thread, because a name server that does not answer is not bound by the time-out of a connection.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_S + 1)
    return bool(answer) and answer[0]
