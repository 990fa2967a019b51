"""Explain events: the source row that an event comes from, its flags, and the rules that set them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from ehrtraj import rules
from ehrtraj.arguments import checked
from ehrtraj.dataset.dataset import Dataset
from ehrtraj.errors import DatasetError
from ehrtraj.rules.listing import RuleTable, about_item
from ehrtraj.rules.measures import Measures
from ehrtraj.runtime.limits import DEFAULT_MEMORY
from ehrtraj.runtime.session import open_session
from ehrtraj.sources.source import Source, source_of

# Weights of the properties that a row shares with an event. A row with a lower total than the minimum is no match.
_KEY, _ITEM, _TIME, _STAY, _VALUE = 16, 8, 4, 4, 1
_MIN_SCORE = 12
_MOST_ROWS = 3


@dataclass(frozen=True)
class Mark:
    """A flag that a rule set on an event.

    Attributes:
        flag: name of the flag.
        meaning: meaning in plain words.
        source: source of the rule.
    """

    flag: str
    meaning: str
    source: str


@dataclass(frozen=True)
class Explanation:
    """The explanation of an event.

    Attributes:
        event: columns of the event.
        description: description of its code.
        marks: flags that rules set on it.
        rules: lines of the rule tables that set its flags.
        rows: the source rows that match the event best, as written; usually one. Empty if none matches, or if the
            release no longer exists.
    """

    event: dict[str, Any]
    description: str | None
    marks: tuple[Mark, ...]
    rules: tuple[RuleTable, ...]
    rows: tuple[dict[str, str | None], ...]


def release_of(dataset: Dataset) -> Path:
    """Return the folder of the release that a dataset was built from; it may have been moved since then."""
    return Path(dataset.layout.manifest["release"]["root"])


@checked
def explain(
    dataset: Dataset,
    subject_id: int,
    *,
    time: datetime | None = None,
    code: str | None = None,
    limit: int = 10,
    release: Path | None = None,
    looking: Callable[[Path], None] = lambda path: None,
) -> list[Explanation]:
    """Explain events of a patient.

    Args:
        dataset: dataset that contains the patient.
        subject_id: the patient.
        time: explain only events of this minute, or of this day if the time is midnight. None selects flagged events,
            one for each table and combination of flags.
        code: explain only events whose code matches this code or pattern.
        limit: maximum number of events to explain.
        release: folder of the release; by default its folder when the dataset was built.
        looking: called with each file that is searched for rows.

    Returns:
        An explanation for each event, in the order of the trajectory.

    Raises:
        DatasetError: if no event of the patient matches.
        UnknownSubjectError: if the patient does not exist.
    """
    events = explained_events(dataset, subject_id, time=time, code=code).head(limit)
    if events.is_empty():
        raise DatasetError(
            f"patient {subject_id} has no such event: `ehrtraj show {dataset.path} {subject_id}` shows all events"
        )
    root = release_of(dataset) if release is None else release
    rows: dict[str, pl.DataFrame] = {}
    for table in events["source_table"].unique(maintain_order=True):
        if (path := source_file(dataset, table, root)) is not None:
            looking(path)
            rows[table] = _rows_of(path, dataset, subject_id)
    return _explained(dataset, events, rows)


def source_file(dataset: Dataset, table: str, release: Path | None = None) -> Path | None:
    """Return the file of the release with the rows of a table; None if it no longer exists.

    Args:
        dataset: dataset that was built from the release.
        table: full name of the table, such as `hosp/labevents`.
        release: folder of the release; by default its folder when the dataset was built.
    """
    file = dataset.layout.manifest["files"].get(table)
    if file is None:
        return None
    # A module that was not in the folder of the release, such as that of --ed.
    outside = [Path(file["outside"])] if "outside" in file else []
    inside = [(release or release_of(dataset)) / file["path"]]
    paths = inside + outside if release else outside + inside
    return next((path for path in paths if path.is_file()), None)


def explain_event(
    dataset: Dataset,
    event: pl.DataFrame,
    path: Path | None = None,
    *,
    seconds: int | None = None,
    opened: Callable[[duckdb.DuckDBPyConnection], None] = lambda connection: None,
) -> Explanation:
    """Explain one event.

    Args:
        dataset: dataset that contains the event.
        event: the event, a frame of one row.
        path: file that is searched for the source row, as `source_file` returns it; None to search none.
        seconds: maximum time of the search; None for no limit.
        opened: called with the connection that searches, so that another thread can interrupt it.

    Raises:
        DatasetError: if the search takes longer, or is interrupted.
    """
    rows: dict[str, pl.DataFrame] = {}
    if path is not None:
        try:
            found = _rows_of(path, dataset, event["subject_id"][0], seconds=seconds, opened=opened)
        except duckdb.InterruptException:
            raise DatasetError(
                f"the search for the row in {path} was stopped, at the latest after {seconds} s. `ehrtraj explain` "
                "searches without a limit"
            ) from None
        rows = {event["source_table"][0]: found}
    return _explained(dataset, event, rows)[0]


def _explained(dataset: Dataset, events: pl.DataFrame, rows: dict[str, pl.DataFrame]) -> list[Explanation]:
    source = source_of(dataset.layout.manifest)
    measures = Measures(source.rules)
    return [
        Explanation(
            event,
            dataset.layout.descriptions.get(event["code"]),
            marks := _marks(event["flags"]),
            tuple(_rules_of(event, measures, marks, source)),
            _best(rows[event["source_table"]], event) if event["source_table"] in rows else (),
        )
        for event in events.iter_rows(named=True)
    ]


def explained_events(
    dataset: Dataset, subject_id: int, *, time: datetime | None = None, code: str | None = None
) -> pl.DataFrame:
    """Return the events that `explain` with the same arguments explains without a limit."""
    trajectory = dataset[subject_id]
    if code is not None:
        trajectory = trajectory.codes(code)
    if time is not None:
        length = timedelta(days=1) if time == datetime(time.year, time.month, time.day) else timedelta(minutes=1)
        return trajectory.between(time, time + length).events.filter(pl.col("time").is_not_null())
    if code is not None:
        return trajectory.events
    marked = trajectory.events.filter(pl.col("flags") != 0)
    return marked.unique(["source_table", "flags"], keep="first", maintain_order=True)


def _marks(flags: int) -> tuple[Mark, ...]:
    lines = {line["flag"]: line for line in rules.read_general("flags")}
    return tuple(
        Mark(name, lines[name]["meaning"], lines[name]["source"]) for name, bit in rules.flags().items() if flags & bit
    )


@cache
def _about(item: str, source: Source) -> list[RuleTable]:
    """Return the lines of the rule tables about an item. Cached, because reading them is the most expensive part."""
    return about_item(item, source.rules)


def _rules_of(event: dict[str, Any], measures: Measures, marks: tuple[Mark, ...], source: Source) -> list[RuleTable]:
    """Return the lines of the rule tables that set an event's flags; of conversions, the one between its units."""
    parts, names = event["code"].split("//"), {mark.flag for mark in marks}
    from_unit = measures.spelled(event["raw_unit"])
    found: list[RuleTable] = []
    for length in range(len(parts), 1, -1):
        for table in _about("//".join(parts[:length]), source):
            lines = [
                line
                for line in table.lines
                if "to_unit" not in line or (line["from_unit"], line["to_unit"]) == (from_unit, event["unit"])
            ]
            if lines and names.intersection(table.flags) and table.name not in {one.name for one in found}:
                found.append(replace(table, lines=lines))
    return found


def _rows_of(
    path: Path,
    dataset: Dataset,
    subject_id: int,
    *,
    seconds: int | None = None,
    opened: Callable[[duckdb.DuckDBPyConnection], None] = lambda connection: None,
) -> pl.DataFrame:
    """Return a patient's rows of a file, as texts."""
    subject = dataset.subjects.row(by_predicate=pl.col("subject_id") == subject_id, named=True)
    key = dataset.layout.source.patient_key
    with open_session(memory=DEFAULT_MEMORY, readable=[path], seconds=seconds) as connection:
        opened(connection)
        found = connection.sql(
            "FROM read_csv(?, header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"', "
            f'ignore_errors = true) WHERE "{key}" = ?',
            params=[str(path), str(subject.get("subject_key", subject_id))],
        )
        return pl.DataFrame(found.to_arrow_table())


def _best(rows: pl.DataFrame, event: dict[str, Any]) -> tuple[dict[str, str | None], ...]:
    """Return the rows that match an event best."""
    score = pl.sum_horizontal(
        pl.any_horizontal(pl.lit(value=False), *conditions).fill_null(value=False).cast(pl.Int32) * weight
        for weight, conditions in _likenesses(rows.columns, event)
    )
    scored = rows.with_columns(score.alias("likeness"))
    most = scored["likeness"].max() if scored.height else 0
    if not isinstance(most, int) or most < _MIN_SCORE:
        return ()
    found = scored.filter(pl.col("likeness") == most).drop("likeness").head(_MOST_ROWS)
    return tuple(found.iter_rows(named=True))


def _likenesses(names: list[str], event: dict[str, Any]) -> list[tuple[int, list[pl.Expr]]]:
    """Return the properties that a row can share with an event, in any column, with their weights."""
    columns = [pl.col(name) for name in names if name != "subject_id"]
    key, time, number = event["source_key"], event["time"], event["numeric_value"]
    items = [part.replace(".", "") for part in event["code"].split("//")[1:]]
    value = event["raw_value"] if event["raw_value"] is not None else event["text_value"]
    times = [] if time is None else [f"{time:%Y-%m-%d %H:%M:%S}", f"{time:%Y-%m-%d}"]
    found: list[tuple[int, list[pl.Expr]]] = [(_TIME, [c.is_in(times) for c in columns])]
    found += [(_ITEM, [c.str.strip_chars().str.replace_all(".", "", literal=True).is_in(items) for c in columns])]
    stays = [str(stay) for name in ("hadm_id", "stay_id") if (stay := event[name]) is not None]
    found.append((_STAY, [c.is_in(stays) for c in columns]))
    if key is not None:
        found.append((_KEY, [(c == str(key)) | c.str.ends_with(f"-{key}") for c in columns]))
    if value is not None:
        found.append((_VALUE, [c == value for c in columns]))
    elif number is not None:
        near = [(c.cast(pl.Float64, strict=False) - number).abs() <= 1e-5 * abs(number) for c in columns]
        found.append((_VALUE, near))
    return found
