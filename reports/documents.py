"""``make results``: run the sweeps that the documents quote, and write their tables between markers.

A marker names a sweep and, where it is not run as it stands, its overrides:

    <!-- table: sweeps/frontier.yaml -->
    <!-- table: sweeps/add_encoder_synthetic.yaml name=unrelated data.image_families=null -->
    <!-- end -->

Every number of the table comes from a CSV file under ``docs/results``, which is made of the sweep's report. Sweeps keep
what is finished, so an interrupted ``make results`` goes on where it stopped.
"""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd
import yaml

from harness.run.store import RunStore
from reports import formatting
from reports.schema import Summary

NUMBERS = Path("docs", "results")
"""Where the CSV files are, from the repository's root."""

MARKER = re.compile(r"(<!-- table: (?P<sweep>\S+)(?P<sets>[^\n]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
HEADINGS = (
    "method",
    "updates per pair",
    "delivered score",
    "mean score",
    "mean gap",
    "Spearman",
    "regret",
    "FLOPs",
    "grid / method, as run",
    "device time",
)


@dataclass(frozen=True)
class Quoted:
    """A sweep that a document quotes.

    Attributes:
        sweep: Its file, from the repository's root.
        sets: Overrides, as after ``--set``.
    """

    sweep: str
    sets: tuple[str, ...] = ()

    def name(self, root: Path) -> str:
        """Name of its run, and of the CSV file with its numbers."""
        for key, _, value in (one.partition("=") for one in self.sets):
            if key == "name":
                return value
        return str(yaml.safe_load((root / self.sweep).read_text())["name"])


def quoted(text: str) -> list[Quoted]:
    """The sweeps that a document quotes, in order."""
    return [Quoted(found["sweep"], tuple(shlex.split(found["sets"]))) for found in MARKER.finditer(text)]


def numbers(store: RunStore) -> pd.DataFrame:
    """One row per method of a report, in the order of its FLOPs, the reference among them.

    Args:
        store: The run, with a report.
    """
    summary = Summary.model_validate_json(store.under("report").get("summary.json"))
    frame = pd.read_csv(BytesIO(store.under("report").get("tables/summary.csv")))
    frame["flops"] = [summary.methods[method].flops.total for method in frame["method"]]
    frame["device_s"] = [summary.methods[method].device_s for method in frame["method"]]
    ends = [f"{name}_{end}" for name in ("delivered", "mean_gap", "spearman", "regret") for end in ("low", "high")]
    columns = ["method", "reference", "updates_per_pair", "delivered", "mean_score", "mean_gap", "spearman", "regret"]
    columns += [*ends, "flops", "cost_ratio_flops_as_run", "device_s"]
    return frame.sort_values("flops", kind="stable")[columns]


def markdown(frame: pd.DataFrame) -> str:
    """The table as it stands in a document."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in frame.to_dict("records")]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[Hashable, object]) -> list[str]:
    def number(name: str) -> float:
        value = row[name]
        return float(value) if isinstance(value, int | float) else float("nan")

    def ranged(name: str) -> str:
        return formatting.with_interval(number(name), (number(f"{name}_low"), number(f"{name}_high")))

    ours = bool(row["reference"])
    return [
        f"{row['method']} (reference)" if ours else str(row["method"]),
        formatting.count(number("updates_per_pair")),
        ranged("delivered"),
        formatting.number(number("mean_score")),
        "–" if ours else ranged("mean_gap"),
        ranged("spearman"),
        ranged("regret"),
        formatting.flops(number("flops")),
        formatting.times(number("cost_ratio_flops_as_run")),
        formatting.seconds(number("device_s")),
    ]


def with_tables(text: str, root: Path) -> str:
    """A document with its tables as the CSV files have them; a table without a file is left alone.

    Args:
        text: The document.
        root: Of the repository.
    """

    def table(found: re.Match[str]) -> str:
        name = Quoted(found["sweep"], tuple(shlex.split(found["sets"]))).name(root)
        file = root / NUMBERS / f"{name}.csv"
        return found[1] + markdown(pd.read_csv(file)) + found[4] if file.exists() else found[0]

    return MARKER.sub(table, text)


def run(one: Quoted, root: Path) -> None:
    """Run what is missing of a sweep below ``runs`` and write its numbers.

    Args:
        one: The sweep.
        root: Of the repository.

    Raises:
        CalledProcessError: The sweep refused or was interrupted. A sweep with failed cells has numbers all the same.
    """
    overrides = [word for override in one.sets for word in ("--set", override)]
    storage = root / "runs"
    command = [sys.executable, "-m", "harness", "sweep", str(root / one.sweep), *overrides, "--storage", str(storage)]
    if (code := subprocess.run(command, check=False).returncode) not in (0, 1):
        raise subprocess.CalledProcessError(code, command)
    (root / NUMBERS).mkdir(parents=True, exist_ok=True)
    name = one.name(root)
    numbers(RunStore(str(storage / name))).to_csv(root / NUMBERS / f"{name}.csv", index=False, float_format="%.6g")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every sweep that ``docs/results*.md`` quote, and write the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("only", nargs="*", help="sweep files; all by default")
    parser.add_argument("--tables", action="store_true", help="write the tables from the CSV files, run nothing")
    given = parser.parse_args(arguments)
    root = Path(__file__).parents[1]
    documents = sorted((root / "docs").glob("results*.md"))
    for document in documents:
        for one in quoted(document.read_text()):
            if not given.tables and (not given.only or one.sweep in given.only):
                run(one, root)
        document.write_text(with_tables(document.read_text(), root))


if __name__ == "__main__":
    main()
