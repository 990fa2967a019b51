"""What labelling shows on the screen."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ehrtraj.dataset.show import console
from ehrtraj.labels.ready import ready_tasks
from ehrtraj.labels.run import Labels


def show_labels(labels: Labels, path: Path) -> None:
    """Print what was labelled, by split."""
    screen = console()
    if labels.task.description:
        screen.print(Text(labels.task.description), soft_wrap=True)
    table = Table("split", box=None, pad_edge=False, header_style="bold")
    for name in ("labels", "positive", "patients"):
        table.add_column(name, justify="right")
    for split, count, positives, patients in labels.splits.iter_rows():
        table.add_row(split, f"{count:,}", f"{positives:,} ({positives / count:.0%})", f"{patients:,}")
    if labels.splits.height:
        screen.print(table)
    screen.print(f"{labels.table.height:,} labels: {escape(str(path))}", soft_wrap=True)
    for note in notes(labels):
        Console(stderr=True, soft_wrap=True).print(Text.assemble(("note: ", "yellow"), note))
    sys.stdout.flush()


def notes(labels: Labels) -> list[str]:
    """What a reader of the labels should know."""
    told = [f"predicate {name} names no code of this dataset" for name in labels.unseen]
    if labels.early:
        told.append(
            f"of {labels.early:,} labels the window begins before prediction_time: what they count may be known by then"
        )
    if not labels.table.height:
        told.append("no trigger fits the task's windows: the file is empty")
    elif labels.table["boolean_value"].n_unique() == 1:
        told.append(f"all labels are {str(labels.table['boolean_value'][0]).lower()}")
    return told


def show_tasks() -> None:
    """Print the ready tasks."""
    table = Table("task", "what", box=None, pad_edge=False, header_style="bold")
    for name, task in ready_tasks().items():
        table.add_row(name, escape(task.description))
    console().print(table)
