"""Output of `ehrtraj label` and `ehrtraj tasks`."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from ehrtraj.cli.show.screen import line, note, out, result
from ehrtraj.labels.ready import ready_tasks
from ehrtraj.labels.run import Labels
from ehrtraj.sources.source import Source


def show_labels(labels: Labels, path: Path) -> None:
    """Print the number of labels by split, and notes on them."""
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
    result(f"{labels.table.height:,} labels: {path}")
    for text in notes(labels):
        note(text)


def notes(labels: Labels) -> list[str]:
    """Return limits that differ from the requested ones, and warnings that a user of the labels should read."""
    texts = list(labels.notes)
    similar = labels.similar
    texts += [f"predicate '{name}' matches no code in this dataset{similar.get(name, '')}" for name in labels.unseen]
    if labels.early:
        texts.append(
            f"the label window of {labels.early:,} labels begins before prediction_time: events in it may already be "
            "known at that time, which leaks the label"
        )
    if not labels.table.height:
        texts.append("no trigger event satisfies the task's windows: the file contains no labels")
    elif labels.table["boolean_value"].n_unique() == 1:
        texts.append(f"all labels are {str(labels.table['boolean_value'][0]).lower()}")
    return texts


def show_tasks(source: Source) -> None:
    """Print the predefined tasks of a source."""
    table = Table("task", "description", box=None, pad_edge=False, header_style="bold")
    for name, task in ready_tasks(source).items():
        table.add_row(name, task.description)
    out().print(table)
