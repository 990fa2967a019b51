"""`ehrtraj label`: labels for prediction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehrtraj.cli.application import Command, tidy_end
from ehrtraj.cli.arguments import DATASET

if TYPE_CHECKING:
    from ehrtraj.release.reader import Stamp
    from ehrtraj.sources.source import Source

_HELP = """Label patients by a task: a file of labels as MEDS has them (LabelSchema), for training and testing.

TASK is a .yaml file in the language of ACES, or one of the ready tasks that `ehrtraj tasks` lists.

[bold]Examples[/bold]

  ehrtraj label trajectories/v1 in_hospital_mortality

  ehrtraj label trajectories/v1 my-task.yaml --output labels/my-task.parquet

A label says what happens after its prediction_time. To predict it, use what was known by then: as_of(prediction_time).

[bold]Exit codes[/bold]: 0 done; 2 the task; 4 the output; 7 the dataset; 130 Ctrl-C.
"""


def label(
    dataset: DATASET,
    task: Annotated[str, typer.Argument(help="A .yaml file, or a ready task.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. (default labels/<task>.parquet)")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
) -> None:
    """Label patients by a task."""
    import ehrtraj
    from ehrtraj.cli.show.bars import bar
    from ehrtraj.cli.show.labels import show_labels
    from ehrtraj.labels.ready import find_task
    from ehrtraj.labels.run import check_output
    from ehrtraj.labels.run import label as find

    asked = find_task(task, lambda: _source_of(dataset))
    path = output or Path("labels") / f"{asked.name}.parquet"
    check_output(path.expanduser(), overwrite=overwrite)
    opened = ehrtraj.open(dataset)
    before = _stamp(path)
    with tidy_end(lambda: ": no labels were written" if _stamp(path) == before else f": {path} is complete"):
        with bar("labelling") as tell:
            labels = find(opened, asked, progress=tell)
        written = labels.write(path, overwrite=overwrite)
    show_labels(labels, written)


def _source_of(dataset: Path) -> Source:
    """The source of a dataset; where that cannot be opened, which is reported later, the first of the package."""
    import ehrtraj
    from ehrtraj.errors import DatasetError
    from ehrtraj.sources.source import find_source, source_of

    try:
        return source_of(ehrtraj.open(dataset).layout.manifest)
    except DatasetError:
        return find_source()


def _stamp(path: Path) -> Stamp | None:
    """Tell one version of a file from another; None where there is none."""
    from ehrtraj.release.reader import Stamp

    try:
        return Stamp.of(path.expanduser().stat())
    except OSError:
        return None


COMMAND = Command(label, place=110, writes=True, help=_HELP)
