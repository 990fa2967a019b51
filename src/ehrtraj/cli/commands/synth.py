"""`ehrtraj synth`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, Command, graceful_stop

_HELP = """Write a synthetic release in the format of MIMIC-IV (hosp, icu, ed, note), without any real patients.

[bold]Examples[/bold]

  ehrtraj synth fake --patients 1000 --seed 7

  ehrtraj synth fake-2.2 --patients 5000 --release 2.2 --defects 0.01

  ehrtraj build fake --trajectory-version fake

The same settings give the same bytes, regardless of the number of CPU cores. truth.csv contains the infections, organ
failures and treatments of each ICU stay that the release was drawn from. With --defects, answers.parquet records which
defect was planted in which row, and the correct event. The release is not a privacy-preserving copy of real patients,
and nothing about medicine can be learned from it.

[bold]Exit codes[/bold]: 0 done; 2 invalid setting; 4 the output cannot be written; 130 Ctrl-C.
"""


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write; must be new or empty.", show_default=False)],
    patients: Annotated[int, typer.Option("--patients", "-n", help="Number of patients, up to 370,000.")] = 1000,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 7,
    release: Annotated[str, typer.Option(help="Release of MIMIC-IV to imitate: 1.0, 2.2, 3.0 or 3.1.")] = "3.1",
    defects: Annotated[
        float, typer.Option(help="Share of rows to damage with each kind of defect, among the rows that can have it.")
    ] = 0.0,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
) -> None:
    """Write a synthetic release."""
    from ehrtraj.cli.show.synth import ConsoleSynthReporter, show_synth
    from ehrtraj.release.versions import SYNTHETIC_MARKER
    from ehrtraj.synth.run import synth as write

    def describe_output() -> str:
        return f": {out} is complete" if (out / SYNTHETIC_MARKER).is_file() else ": no files were left behind"

    with graceful_stop(describe_output):
        result = write(
            out,
            patients=patients,
            seed=seed,
            release=release,
            defects=defects,
            max_cpus=max_cpus,
            reporter=ConsoleSynthReporter(),
        )
    show_synth(result)


COMMAND = Command(synth, place=130, writes=True, help=_HELP, long=True)
