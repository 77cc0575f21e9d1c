"""The ``harness`` command: one file of this folder per verb."""

import sys
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from harness import __version__
from harness.cli import (
    compare,
    embed,
    export,
    init,
    language_models,
    ls,
    pick,
    plan,
    report,
    schema,
    status,
    sweep,
    validate,
    verify,
)
from harness.cli.blame import blamed
from harness.cli.common import interruptible, stderr, stdout
from harness.errors import HarnessError
from harness.run.interrupts import stoppable
from harness.run.texts import cut

SCREEN_CHARS = 2_000
"""Characters of an error that are shown."""

app = typer.Typer(
    help="Which image and text encoders should I stitch, and what is the cheapest trustworthy way to find out?",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    init.init,
    pick.pick,
    sweep.sweep,
    plan.plan,
    embed.embed,
    status.status,
    report.report,
    compare.compare,
    ls.ls,
    validate.validate,
    schema.schema,
    export.export,
    language_models.language_models,
    verify.verify,
):
    app.command()(interruptible()(verb))


def _print_version(wanted: bool) -> None:
    if wanted:
        stdout.print(f"harness {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _version(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that may stand before a verb."""


def main() -> None:
    """Entry point: bad input is one line and exit code 2, never a traceback."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore", category=FutureWarning)  # other libraries' notes to their developers
    try:
        with stoppable():
            app()
    except HarnessError as error:
        _stop(str(blamed(error)))
    except OSError as error:  # a full disk, a folder that may not be written
        from harness.contract.files import CLOSED, FULL, storage_failed

        ours = error.errno in (*FULL, *CLOSED) and error.filename
        _stop(str(storage_failed(error, Path(error.filename)) if ours else error))


def _stop(message: str) -> NoReturn:
    text = escape(cut(" ".join(message.split()), SCREEN_CHARS))
    # An id such as local:one: must not become an emoji.
    stderr.print(f"[bold red]error:[/] {text}", soft_wrap=True, highlight=False, emoji=False)
    sys.exit(2)
