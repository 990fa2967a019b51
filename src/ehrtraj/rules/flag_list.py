"""List the flags of events: what each means, which rules set it, and how many events of a dataset have it."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl

from ehrtraj import rules
from ehrtraj.errors import DatasetError, SettingsError
from ehrtraj.format.names import APPLIED, FLAGS
from ehrtraj.paths import dataset_errors
from ehrtraj.suggestions import did_you_mean

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "flag": pl.String,
    "bit": pl.Int64,
    "value": pl.Int64,
    "meaning": pl.String,
    "rules": pl.List(pl.String),
    "source": pl.String,
    "events": pl.Int64,
}


def list_flags(dataset: Path | None = None, flag: str | None = None) -> pl.DataFrame:
    """Return the flags, in the order of their bits.

    Args:
        dataset: folder of a dataset; its flags are listed and counted. By default, those of this version of ehrtraj.
        flag: return only this one.

    Returns:
        A row for each flag: flag, bit (its position), value (as in the column `flags`), meaning, rules (the rule tables
        that set it; without any, the build sets it itself), source, and events. `events` is null without a dataset, or
        if the dataset does not record what the rules did. It comes from these records: no events are read.

    Raises:
        DatasetError: if the folder is not a dataset of ehrtraj.
        SettingsError: if there is no such flag.
    """
    found = _general() if dataset is None else _of_dataset(dataset)
    counts = None if dataset is None else _counts(dataset)
    tables = _tables_by_flag()
    rows = [
        {
            "flag": name,
            "bit": value.bit_length() - 1,
            "value": value,
            "meaning": about["meaning"],
            "rules": tables[name],
            "source": about["source"],
            "events": None if counts is None else counts.get(name, 0),
        }
        for name, (value, about) in sorted(found.items(), key=lambda pair: pair[1][0])
        if flag in (None, name)
    ]
    if not rows:
        raise SettingsError(f"there is no flag '{flag}'{did_you_mean(str(flag), found)}: `ehrtraj flags` lists all")
    return pl.DataFrame(rows, schema=pl.Schema(_SCHEMA))


def _general() -> dict[str, tuple[int, dict[str, str]]]:
    return {line["flag"]: (1 << int(line["bit"]), line) for line in rules.read_general("flags")}


def _of_dataset(dataset: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    path = dataset / FLAGS
    with dataset_errors():
        if not path.is_file():
            raise DatasetError(f"{dataset} has no {FLAGS}: it is not a dataset of ehrtraj, whose events have flags")
        text = path.read_text(encoding="utf-8")
    try:
        return {name: (int(about["value"]), about) for name, about in json.loads(text).items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise DatasetError(f"{path} is damaged: build the dataset again") from None


def _counts(dataset: Path) -> dict[str, int] | None:
    """Return the number of events with each flag, or None if the dataset does not record it."""
    path = dataset / APPLIED
    if not path.is_file():
        return None
    with dataset_errors():
        records = pl.read_parquet(path, columns=["rule", "events"], glob=False)
    return dict(records.group_by("rule").agg(pl.col("events").sum()).iter_rows())


def _tables_by_flag() -> dict[str, list[str]]:
    tables: dict[str, list[str]] = defaultdict(list)
    for entry in rules.read_general("about"):
        for flag in entry["flags"].split():
            tables[flag].append(entry["table"])
    return tables
