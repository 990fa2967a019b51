"""`ehrtraj export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, Command, tidy_end
from ehrtraj.exports import formats

KEPT = ". Finished work is kept: run the same command again to resume"

_EXPORT_HELP = """Write a file for each patient, admission or ICU stay of a dataset.

[bold]Examples[/bold]

  ehrtraj export trajectories/v1 --output patients

  ehrtraj export trajectories/v1 --per admission --history --output admissions

  ehrtraj export trajectories/v1 --per icustay --format csv --split train --output stays

  ehrtraj export trajectories/v1 --single --output one-file

Files lie in p100/p10000032/ and the like; index.csv lists them with patient, admission, stay, times and number of
events. An interrupted export resumes when you run the same command again.

[bold]Exit codes[/bold]: 0 done or already there; 2 a setting; 4 the output; 7 the dataset; 130 Ctrl-C.
"""

*_OTHERS, _LAST = formats.names()
_FORMATS_HELP = f"{', '.join(_OTHERS)} or {_LAST}. (default {formats.DEFAULT})"


def export(
    dataset: Annotated[Path, typer.Argument(help="Folder of the dataset.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.", show_default=False)],
    per: Annotated[str, typer.Option(help="What has a file: patient, admission, icustay or shard.")] = "patient",
    file_format: Annotated[str | None, typer.Option("--format", "-f", help=_FORMATS_HELP)] = None,
    single: Annotated[bool, typer.Option("--single", help="One Parquet file with all events.")] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Put what was known before an admission or stay into its file.")
    ] = False,
    outside: Annotated[
        bool,
        typer.Option("--outside/--no-outside", help="Write what belongs to no admission or stay, a file a patient."),
    ] = True,
    excel: Annotated[
        bool,
        typer.Option(
            "--excel",
            help="In CSV, put an apostrophe before texts that a spreadsheet would take for a formula (=, +, -, @).",
        ),
    ] = False,
    split: Annotated[str | None, typer.Option(help="Only patients of train, tuning or held_out.")] = None,
    subjects: Annotated[
        str | None, typer.Option(help="These patients only: a file of subject_ids, or a number to draw.")
    ] = None,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another export in the output.")] = False,
) -> None:
    """Write a file for each patient, admission or ICU stay."""
    from ehrtraj.cli.show.bars import bar
    from ehrtraj.cli.show.export import show_export
    from ehrtraj.exports.run import export as write

    given: dict[str, Any] = {"per": per, "format": file_format, "split": split, "subjects": subjects}
    with tidy_end(KEPT), bar("writing") as told:
        result = write(
            dataset,
            output,
            single=single,
            history=history,
            outside=outside,
            excel=excel,
            max_cpus=max_cpus,
            overwrite=overwrite,
            progress=told,
            **given,
        )
    show_export(result)


COMMAND = Command(export, place=100, writes=True, help=_EXPORT_HELP)
