"""Output of `ehrtraj label` and `ehrtraj tasks`."""

from __future__ import annotations

from pathlib import Path

from ehrtraj.cli.show.screen import line, note, out, result
from ehrtraj.cli.show.table import Table, name_column, number_column, prose_column
from ehrtraj.labels.ready import ready_tasks
from ehrtraj.labels.run import Labels
from ehrtraj.sources.source import Source


def show_labels(labels: Labels, path: Path) -> None:
    """Print the number of labels by split, and notes on them."""
    screen = out()
    if labels.task.description:
        screen.print(line(" ".join(labels.task.description.split())))
    table = Table(name_column("split"), *map(number_column, ("labels", "positive", "patients")))
    for split, count, positives, patients in labels.splits.iter_rows():
        table.add(split, f"{count:,}", f"{positives:,} ({positives / count:.0%})", f"{patients:,}")
    if labels.splits.height:
        screen.print(table)
    result(f"{labels.table.height:,} labels: {path}")
    for text in notes(labels):
        note(text)


def notes(labels: Labels) -> list[str]:
    """Return limits that differ from the requested ones, and warnings that a user of the labels should read."""
    texts = list(labels.notes)
    similar = labels.similar
    texts += [f"predicate '{one}' matches no code in this dataset{similar.get(one, '')}" for one in labels.unseen]
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
    table = Table(name_column("task"), prose_column("description"))
    for task_name, task in ready_tasks(source).items():
        table.add(task_name, " ".join((task.description or "").split()))
    out().print(table)
