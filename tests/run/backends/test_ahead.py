"""Ray is started while other things are done, once, and goes where nobody used it or where it was used."""

import threading
from collections.abc import Iterator

import pytest

from harness.errors import HarnessError
from harness.run.backends.ahead import started_ahead
from tests.test_import_light import loaded_by


class Calls:
    """Stands where Ray's two entrances are, because what matters here is who opens and closes them, and when."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.error: Exception | None = None
        self.thread: threading.Thread | None = None

    def init(self, **options: object) -> None:
        self.seen.append("init")
        self.thread = threading.current_thread()
        if self.error:
            raise self.error

    def shutdown(self) -> None:
        assert self.thread is not None
        assert self.thread.is_alive(), "Linux ends the processes of a thread with it"
        self.seen.append("shutdown")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    from harness.run.backends import ray_cluster

    made = Calls()
    for name in ("init", "shutdown"):
        monkeypatch.setattr(ray_cluster.ray, name, getattr(made, name))
    monkeypatch.setattr(ray_cluster.ray, "is_initialized", lambda: False)
    yield made
    if made.thread:
        made.thread.join(timeout=30)
        assert not made.thread.is_alive()


def test_a_cluster_uses_what_was_started_ahead_and_closes_it(calls: Calls) -> None:
    from harness.run.backends.ray_cluster import cluster

    with started_ahead("ray", None):
        with cluster(None):
            assert calls.seen == ["init"]
        assert calls.seen == ["init", "shutdown"]
    assert calls.seen == ["init", "shutdown"]


def test_what_nobody_used_goes_also_after_an_error(calls: Calls) -> None:
    with pytest.raises(HarnessError, match="bad plan"), started_ahead("ray", None):
        raise HarnessError("bad plan")
    assert calls.seen == ["init", "shutdown"]


def test_a_start_that_fails_is_told_where_the_cluster_is_wanted(calls: Calls) -> None:
    from harness.run.backends.ray_cluster import cluster

    calls.error = ConnectionError("no")
    with pytest.raises(HarnessError, match="no Ray cluster answers"), started_ahead("ray", None), cluster(None):
        pass
    assert calls.seen == ["init"]


def test_nothing_is_started_to_join_a_cluster_or_without_ray(calls: Calls) -> None:
    with started_ahead("ray", "10.0.0.9:6379"), started_ahead("serial", None), started_ahead("unknown", None):
        pass
    assert calls.seen == []


def test_starting_ahead_does_not_wait_for_torch() -> None:
    code = "import harness.run.backends.ahead as a; a.AHEAD.get('ray')"
    assert "torch" not in loaded_by(code)
