"""`ehrtraj export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, Command, graceful_stop
from ehrtraj.exports import formats

KEPT_WORK = ". Finished work is kept: run the same command again to resume"

_EXPORT_HELP = """Write a file for each patient, admission or ICU stay of a dataset.

[bold]Examples[/bold]

  ehrtraj export trajectories/v1 --output patients

  ehrtraj export trajectories/v1 --per admission --history --output admissions

  ehrtraj export trajectories/v1 --per icustay --format csv --split train --output stays

  ehrtraj export trajectories/v1 --single --output one-file

Files are stored in folders such as p100/p10000032/. index.csv lists them with patient, admission, stay, times and
number of events. An interrupted export resumes when you run the same command again.

[bold]Exit codes[/bold]: 0 done, or the export already exists; 2 invalid setting; 4 the output cannot be written; 7 the
dataset cannot be read; 130 Ctrl-C.
"""

*_OTHERS, _LAST = formats.names()
_FORMATS_HELP = f"{', '.join(_OTHERS)} or {_LAST}. (default {formats.DEFAULT})"


def export(
    dataset: Annotated[Path, typer.Argument(help="Folder of the dataset.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.", show_default=False)],
    per: Annotated[str, typer.Option(help="One file per patient, admission, icustay or shard.")] = "patient",
    file_format: Annotated[str | None, typer.Option("--format", "-f", help=_FORMATS_HELP)] = None,
    single: Annotated[bool, typer.Option("--single", help="Write one Parquet file with all events.")] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Include in each file the events known before the admission or stay.")
    ] = False,
    outside: Annotated[
        bool,
        typer.Option(
            "--outside/--no-outside", help="Write events outside of admissions or stays, one file per patient, or not."
        ),
    ] = True,
    excel: Annotated[
        bool,
        typer.Option(
            "--excel",
            help="In CSV, put an apostrophe before texts that a spreadsheet would treat as a formula (=, +, -, @).",
        ),
    ] = False,
    split: Annotated[str | None, typer.Option(help="Only patients in one split: train, tuning or held_out.")] = None,
    subjects: Annotated[
        str | None, typer.Option(help="Only these patients: a file of subject_ids, or a number of patients to sample.")
    ] = None,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing export in the output.")] = False,
) -> None:
    """Write a file for each patient, admission or ICU stay."""
    from ehrtraj.cli.show.activity import bar
    from ehrtraj.cli.show.export import show_export
    from ehrtraj.exports.run import export as write

    options: dict[str, Any] = {"per": per, "format": file_format, "split": split, "subjects": subjects}
    with graceful_stop(KEPT_WORK), bar("writing") as show_progress:
        result = write(
            dataset,
            output,
            single=single,
            history=history,
            outside=outside,
            excel=excel,
            max_cpus=max_cpus,
            overwrite=overwrite,
            progress=show_progress,
            **options,
        )
    show_export(result)


COMMAND = Command(export, place=100, writes=True, help=_EXPORT_HELP, long=True)
