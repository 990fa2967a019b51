"""`ehrtraj label`: create labels for prediction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, MEMORY_HELP, Command, graceful_stop
from ehrtraj.cli.arguments import DATASET

if TYPE_CHECKING:
    from ehrtraj.release.reader import Stamp
    from ehrtraj.sources.source import Source

_HELP = """Label patients for a prediction task: write a Parquet file of labels in MEDS's LabelSchema.

TASK is a .yaml file in the ACES task language, or one of the predefined tasks that `ehrtraj tasks` lists.

[bold]Examples[/bold]

  ehrtraj label trajectories/v1 in_hospital_mortality

  ehrtraj label trajectories/v1 my-task.yaml --output labels/my-task.parquet

A label records what happens after its prediction_time. To predict it without leakage, use only what was known at that
time: as_of(prediction_time).

[bold]Exit codes[/bold]: 0 done; 2 invalid task or setting; 4 the output cannot be written; 7 the dataset cannot be
read; 130 Ctrl-C.
"""


def label(
    dataset: DATASET,
    task: Annotated[str, typer.Argument(help="A .yaml file, or a predefined task.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. (default labels/<task>.parquet)")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    with_stays: Annotated[
        bool, typer.Option("--with-stays", help="Add hadm_id and stay_id, which MEDS's LabelSchema does not allow.")
    ] = False,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
    memory_limit: Annotated[str | None, typer.Option(help=MEMORY_HELP)] = None,
) -> None:
    """Label patients for a prediction task."""
    import ehrtraj
    from ehrtraj.cli.show.activity import bar
    from ehrtraj.cli.show.labels import show_labels
    from ehrtraj.labels.ready import find_task
    from ehrtraj.labels.run import check_output
    from ehrtraj.labels.run import label as compute_labels

    parsed_task = find_task(task, lambda: _source_of(dataset))
    path = output or Path("labels") / f"{parsed_task.name}.parquet"
    check_output(path.expanduser(), overwrite=overwrite)
    opened = ehrtraj.open(dataset)
    before = _stamp(path)
    with graceful_stop(lambda: ": no labels were written" if _stamp(path) == before else f": {path} is complete"):
        with bar("labelling") as show_progress:
            labels = compute_labels(
                opened, parsed_task, max_cpus=max_cpus, memory_limit=memory_limit, progress=show_progress
            )
        written = labels.write(path, overwrite=overwrite, with_stays=with_stays)
    show_labels(labels, written)


def _source_of(dataset: Path) -> Source:
    """Return the source of a dataset, or the default one if the dataset cannot be opened, which is reported later."""
    import ehrtraj
    from ehrtraj.errors import DatasetError
    from ehrtraj.sources.source import find_source, source_of

    try:
        return source_of(ehrtraj.open(dataset).layout.manifest)
    except DatasetError:
        return find_source()


def _stamp(path: Path) -> Stamp | None:
    """Return a stamp that changes when the file is rewritten, or None if there is no file."""
    from ehrtraj.release.reader import Stamp

    try:
        return Stamp.of(path.expanduser().stat())
    except OSError:
        return None


COMMAND = Command(label, place=110, writes=True, help=_HELP, long=True)
