"""The command line: thin over the library. One module for each command or group of commands."""

from __future__ import annotations

import signal
import sys

from rich.console import Console
from rich.text import Text

from ehrtraj.cli import build as _build
from ehrtraj.cli import check as _check
from ehrtraj.cli import dataset as _dataset
from ehrtraj.cli import diff as _diff
from ehrtraj.cli import download as _download
from ehrtraj.cli import explain as _explain
from ehrtraj.cli import export as _export
from ehrtraj.cli import label as _label
from ehrtraj.cli import rules as _rules
from ehrtraj.cli import synth as _synth
from ehrtraj.cli import tables as _tables
from ehrtraj.cli.app import app
from ehrtraj.errors import EhrtrajError

__all__ = ["app", "main"]

# Importing a module adds its commands to `app`, in the order in which --help lists them.
COMMANDS = (_download, _build, _dataset, _check, _diff, _export, _label, _synth, _explain, _rules, _tables)


def main() -> None:
    """Run the command line: errors in plain words on stderr, exit codes as in `ehrtraj build --help`."""
    # Ended by `kill` or a cluster's scheduler: the same tidy end as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(standalone_mode=True)
    except EhrtrajError as error:
        message = Text.assemble(("error: ", "bold red"), str(error))
        Console(stderr=True, soft_wrap=True).print(message)
        sys.exit(error.exit_code)
