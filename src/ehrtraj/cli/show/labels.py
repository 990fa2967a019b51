"""What labelling shows on the screen."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from ehrtraj.cli.show.screen import line, note, out
from ehrtraj.labels.ready import ready_tasks
from ehrtraj.labels.run import Labels
from ehrtraj.sources.source import Source


def show_labels(labels: Labels, path: Path) -> None:
    """Print what was labelled, by split."""
    screen = out()
    if labels.task.description:
        screen.print(line(" ".join(labels.task.description.split())), soft_wrap=True)
    table = Table("split", box=None, pad_edge=False, header_style="bold")
    for name in ("labels", "positive", "patients"):
        table.add_column(name, justify="right")
    for split, count, positives, patients in labels.splits.iter_rows():
        table.add_row(split, f"{count:,}", f"{positives:,} ({positives / count:.0%})", f"{patients:,}")
    if labels.splits.height:
        screen.print(table)
    screen.print(f"{labels.table.height:,} labels: {path}", soft_wrap=True)
    for text in notes(labels):
        note(text)


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


def show_tasks(source: Source) -> None:
    """Print the ready tasks of a source."""
    table = Table("task", "what", box=None, pad_edge=False, header_style="bold")
    for name, task in ready_tasks(source).items():
        table.add_row(name, task.description)
    out().print(table)
