"""Output of `ehrtraj export`."""

from __future__ import annotations

from ehrtraj.cli.show.screen import line, out
from ehrtraj.cli.show.screen import result as print_result
from ehrtraj.exports.space import INDEX
from ehrtraj.readable import duration, size
from ehrtraj.results import ExportResult


def show_export(result: ExportResult) -> None:
    """Print the summary of an export to stdout."""
    console = out()
    for note in result.notes:
        console.print(line(("note: ", "yellow"), note))
    counts = f"{result.files:,} files, {result.patients:,} patients, {result.events:,} events"
    if result.already_there:
        print_result(
            f"{result.path} is already there, from the same dataset and settings ({counts}): nothing was changed"
        )
        return
    resumed = " (resumed an interrupted export)" if result.resumed else ""
    print_result(
        (counts, "bold"),
        f" in {duration(result.seconds)}{resumed}, peak memory {size(result.peak_memory)}, {size(result.bytes)} on "
        "disk",
    )
    console.print(f"files: {result.path}")
    console.print(f"index: {result.path / INDEX}")
