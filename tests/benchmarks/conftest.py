"""Ratios and rates below the table of times: they are what carries over to another machine."""

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    measured = [bench for bench in getattr(session, "benchmarks", []) if bench.extra_info]
    if measured:
        terminalreporter.section("ratios and rates")
    for bench in measured:
        shown = ", ".join(f"{name} {value:.3g}" for name, value in bench.extra_info.items())
        terminalreporter.write_line(f"{bench.name}: {shown}")
