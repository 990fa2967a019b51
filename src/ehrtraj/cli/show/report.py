"""Output of `ehrtraj report`."""

from __future__ import annotations

from pathlib import Path

from ehrtraj.cli.show.screen import out, warning
from ehrtraj.readable import size


def show_report(path: Path, *, with_examples: bool) -> None:
    """Print the path and the size of a report."""
    out().print(f"report: {path} ({size(path.stat().st_size)})")
    if with_examples:
        warning("this report contains patient data: do not share it")
