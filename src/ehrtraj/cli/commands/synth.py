"""`ehrtraj synth`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, Command, tidy_end

_HELP = """Write a synthetic release in the form of MIMIC-IV (hosp, icu, ed, note), of patients that never lived.

[bold]Examples[/bold]

  ehrtraj synth fake --patients 1000 --seed 7

  ehrtraj synth fake-2.2 --patients 5000 --release 2.2 --defects 0.01

  ehrtraj build fake --trajectory-version fake

The same settings give the same bytes, whatever the processors. With --defects, answers.parquet says which fault was
planted in which row, and what the right event is. It is not a privacy-preserving copy of real patients, and nothing
about medicine can be learned from it.

[bold]Exit codes[/bold]: 0 done; 2 a setting; 4 the output; 130 Ctrl-C.
"""


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write; must be new or empty.", show_default=False)],
    patients: Annotated[int, typer.Option("--patients", "-n", help="How many patients, up to 370,000.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 7,
    release: Annotated[str, typer.Option(help="Its form: 1.0, 2.2, 3.0 or 3.1.")] = "3.1",
    defects: Annotated[
        float, typer.Option(help="For each kind of fault, the share of the rows it could touch that have it.")
    ] = 0.0,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
) -> None:
    """Write a synthetic release."""
    from ehrtraj.cli.show.synth import ConsoleSynthReporter, show_synth
    from ehrtraj.release.versions import SYNTHETIC_MARKER
    from ehrtraj.synth.run import synth as write

    def kept() -> str:
        return f": {out} is complete" if (out / SYNTHETIC_MARKER).is_file() else ": nothing was left behind"

    with tidy_end(kept):
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


COMMAND = Command(synth, place=130, writes=True, help=_HELP)
