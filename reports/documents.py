"""``make results``: run the sweeps that the documents quote, and write their tables between markers.

A marker names a sweep and, where it is not run as it stands, its overrides:

    <!-- table: sweeps/frontier.yaml -->
    <!-- table: sweeps/add_encoder_synthetic.yaml name=unrelated data.image_families=null -->
    <!-- table: sweeps/hyper_align_scales_synthetic.yaml section="The best pair per constraint level" -->
    <!-- end -->

The table is that of the sweep's methods or, with a section, the table of that section of its report. Every number of it
comes from a CSV file under ``docs/results``, which is made of the sweep's report. Sweeps keep what is finished, so an
interrupted ``make results`` goes on where it stopped.
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
SECTION = "section="
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
        section: Heading of the section of its report whose table is quoted; None: the table of its methods.
    """

    sweep: str
    sets: tuple[str, ...] = ()
    section: str | None = None

    @classmethod
    def written(cls, found: re.Match[str]) -> "Quoted":
        """What a marker names."""
        words = shlex.split(found["sets"])
        sections = [word.partition("=")[2] for word in words if word.startswith(SECTION)]
        sets = tuple(word for word in words if not word.startswith(SECTION))
        return cls(found["sweep"], sets, sections[0] if sections else None)

    def file(self, root: Path) -> Path:
        """The CSV file with its numbers."""
        part = "" if self.section is None else "." + re.sub(r"\W+", "_", self.section.lower())
        return root / NUMBERS / f"{self.name(root)}{part}.csv"

    def name(self, root: Path) -> str:
        """Name of its run."""
        for key, _, value in (one.partition("=") for one in self.sets):
            if key == "name":
                return value
        return str(yaml.safe_load((root / self.sweep).read_text())["name"])


def quoted(text: str) -> list[Quoted]:
    """The sweeps that a document quotes, in order."""
    return [Quoted.written(found) for found in MARKER.finditer(text)]


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


def section_table(report: str, heading: str) -> pd.DataFrame:
    """The first table of a section of a report in Markdown, all cells as they stand there.

    Args:
        report: ``report.md``.
        heading: Of the section, without its marks.

    Raises:
        ValueError: No such section, or it has no table.
    """
    _, found, rest = report.partition(f"\n## {heading}\n")
    lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    if not found or len(lines) < 3:
        raise ValueError(f"the report has no table under {heading!r}")
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return pd.DataFrame(rows, columns=pd.Index(header))


def as_it_stands(frame: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + "---|" * len(frame.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in frame.itertuples(index=False)]
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
        one = Quoted.written(found)
        if not (file := one.file(root)).exists():
            return found[0]
        shown = markdown(pd.read_csv(file)) if one.section is None else as_it_stands(pd.read_csv(file, dtype=str))
        return found[1] + shown + found[4]

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
    store = RunStore(str(storage / one.name(root)))
    if one.section is None:
        frame = numbers(store)
    else:
        frame = section_table(store.under("report").get("report.md").decode(), one.section)
    frame.to_csv(one.file(root), index=False, float_format="%.6g")


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
