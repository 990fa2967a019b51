"""Everything that the report of the difference between two datasets contains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from ehrtraj.dataset.layout import DatasetLayout, find_layout
from ehrtraj.diffs.events import EventsDiff, Example
from ehrtraj.diffs.run import DiffReport
from ehrtraj.reports.masking import FEWEST, Masking, Shown

_MOST_CODES = 50
_LONGEST = 120


@dataclass(frozen=True)
class CodeDifference:
    """A code with different numbers of events. A number is None if the dataset lacks the code."""

    code: str
    description: str
    in_a: Shown
    in_b: Shown


@dataclass(frozen=True)
class TableDifference:
    """Differing events of one table.

    Attributes:
        table: name of the table.
        only_a: number of events that only A has.
        only_b: number of events that only B has.
        changed: number of events that differ only in some columns.
        columns: these columns, with the number of events.
    """

    table: str
    only_a: Shown
    only_b: Shown
    changed: Shown
    columns: tuple[tuple[str, Shown], ...]


@dataclass(frozen=True)
class EventExample:
    """One event that differs, for private reports."""

    what: str
    event: str
    columns: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Differences:
    """The content of the report.

    Attributes:
        private: whether it contains exact counts and examples.
        same: whether both contain the same data.
        a, b: names of the datasets.
        compared: number of events that were compared.
        settings: differing inputs and settings, with both values.
        columns: sentences on columns that only one dataset has.
        patients: words and the number of patients.
        codes: codes with different numbers of events.
        codes_only_a, codes_only_b, codes_described: number of codes.
        events_of: number of patients with differing events.
        reordered: number of patients with the same events in another order.
        tables: differing events by table.
        examples: of private reports.
    """

    private: bool
    same: bool
    a: str
    b: str
    compared: Shown
    settings: tuple[tuple[str, str, str], ...]
    columns: tuple[tuple[str, str], ...]
    patients: tuple[tuple[str, Shown], ...]
    codes: tuple[CodeDifference, ...]
    codes_only_a: int
    codes_only_b: int
    codes_changed: int
    codes_described: int
    events_of: Shown
    reordered: Shown
    tables: tuple[TableDifference, ...]
    examples: tuple[EventExample, ...]


def gather_differences(report: DiffReport, *, with_examples: bool) -> Differences:
    """Return what the report of a difference contains.

    Args:
        report: what `ehrtraj.diff` returned.
        with_examples: whether the report is for private use: with examples and exact counts.
    """
    masking = Masking(exact=with_examples)
    only_a, only_b = (report.codes[f"n_events_{other}"].is_null() for other in ("b", "a"))
    changed = report.codes.filter(~only_a & ~only_b & (pl.col("n_events_a") != pl.col("n_events_b")))
    patients = {"only in A": report.patients_a, "only in B": report.patients_b, "in different splits": report.moved}
    both = (("only in A", report.columns_a), ("only in B", report.columns_b))
    return Differences(
        private=with_examples,
        same=report.same,
        a=str(report.a) if with_examples else report.a.name,
        b=str(report.b) if with_examples else report.b.name,
        compared=masking.count(report.events.compared),
        settings=tuple(_settings(report, masking)),
        columns=tuple((words, ", ".join(names)) for words, names in both if names),
        patients=tuple((words, masking.count(len(found))) for words, found in patients.items()),
        codes=tuple(_codes(report, masking)),
        codes_only_a=int(only_a.sum()),
        codes_only_b=int(only_b.sum()),
        codes_changed=changed.height,
        codes_described=int(report.codes["described_otherwise"].sum()),
        events_of=masking.count(report.events.patients),
        reordered=masking.count(report.events.reordered),
        tables=tuple(_tables(report.events, masking)),
        examples=tuple(map(_example, report.events.examples)) if with_examples else (),
    )


def _settings(report: DiffReport, masking: Masking) -> Iterator[tuple[str, str, str]]:
    for name, values in report.settings.items():
        # A number of patients to choose is a count.
        show = masking.text if name == "subjects" else masking.without_folders
        yield name, *(show(value) for value in values)  # type: ignore[misc]  # two values


def _codes(report: DiffReport, masking: Masking) -> Iterator[CodeDifference]:
    """Yield the codes whose numbers of events differ most. Rare codes are not named."""
    differing = report.codes.filter(pl.col("n_events_a").ne_missing(pl.col("n_events_b")))
    about = pl.concat([_about(find_layout(root), masking) for root in (report.b, report.a)])
    # A code must be frequent in each dataset that has it.
    about = about.group_by("code").agg(pl.col("description").last(), pl.col("is_frequent").all())
    named = differing.join(about.filter("is_frequent"), on="code", how="inner")
    found = [
        CodeDifference(row["code"], row["description"] or "", *(masking.count(row[f"n_events_{s}"] or 0) for s in "ab"))
        for row in named.iter_rows(named=True)
    ]
    found.sort(key=lambda one: (-abs(one.in_a.size - one.in_b.size), one.code))
    yield from found[:_MOST_CODES]


def _about(layout: DatasetLayout, masking: Masking) -> pl.DataFrame:
    enough = (pl.col("n_events") >= FEWEST) & (pl.col("n_subjects") >= FEWEST)
    return layout.codes.select("code", "description", is_frequent=enough | pl.lit(value=masking.exact))


def _tables(events: EventsDiff, masking: Masking) -> Iterator[TableDifference]:
    columns: dict[str, Counter[str]] = {}
    for (table, column), count in events.columns.items():
        columns.setdefault(table, Counter())[column] = count
    for table in sorted({*events.only_a, *events.only_b, *events.changed}):
        changed = [(column, masking.count(number)) for column, number in columns.get(table, {}).items()]
        yield TableDifference(
            table,
            masking.count(events.only_a[table]),
            masking.count(events.only_b[table]),
            masking.count(events.changed[table]),
            tuple(sorted(changed, key=lambda pair: (-pair[1].size, pair[0]))),
        )


def _example(example: Example) -> EventExample:
    event = example.event
    key = "" if event.get("source_key") is None else f" {event['source_key']}"
    place = f"patient {event['subject_id']}, {event['source_table']}{key}, {event['time'] or 'static'}, {event['code']}"
    columns = tuple((column, _value(a), _value(b)) for column, (a, b) in example.columns.items())
    return EventExample(
        f"{example.what[:-2]} in {example.what[-1].upper()}" if "_" in example.what else "changed", place, columns
    )


def _value(value: object) -> str:
    text = "null" if value is None else f"{value:.7g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
