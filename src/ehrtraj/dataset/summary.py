"""Summary statistics of a dataset from its small tables: no events are read."""

from __future__ import annotations

from typing import Any

import polars as pl

from ehrtraj.dataset.dataset import Dataset
from ehrtraj.format.names import LEDGER
from ehrtraj.format.splits import SPLITS

_MOST_FREQUENT = 10
_OF_A_CODE = ["code", "description", "unit", "n_events", "n_subjects"]


def summarise(ds: Dataset) -> dict[str, Any]:
    """Return summary statistics of a complete dataset.

    Returns:
        `path`, `name`, `built` (time and version), `clock`, `format`, `patients`, `events`, `codes`, `bytes`,
        `first_time`, `last_time`, and under `splits`, `tables`, `event_types` and `most_frequent` (codes) one entry
        each with its numbers. A code of several tables is counted under the first one, its events under each table.
    """
    manifest, about, subjects = ds.layout.manifest, ds.layout.about, ds.layout.subjects
    return {
        "path": str(ds.path),
        "name": about["dataset_name"],
        "source": ds.layout.source.title,
        "release": manifest["release"]["version"],
        "built": {"at": about["created_at"], "ehrtraj": about["etl_version"]},
        "clock": ds.layout.clock,
        "standardised": bool(manifest["settings"]["standardise"]),
        "format": manifest["format"],
        "patients": subjects.height,
        "events": int(subjects["n_events"].sum()),
        "codes": ds.codes.height,
        "bytes": sum(file["bytes"] for file in manifest["contents"].values()),
        "first_time": subjects["first_time"].min(),
        "last_time": subjects["last_time"].max(),
        "splits": _splits(subjects),
        "tables": _tables(ds),
        "event_types": _counts(ds.codes, "event_type"),
        "most_frequent": find_codes(ds, None).head(_MOST_FREQUENT).select(_OF_A_CODE).to_dicts(),
    }


def _splits(subjects: pl.DataFrame) -> list[dict[str, Any]]:
    counts = subjects.group_by("split").agg(patients=pl.len(), events=pl.col("n_events").sum())
    return sorted(counts.to_dicts(), key=lambda row: SPLITS.index(row["split"]))


def _counts(codes: pl.DataFrame, by: str) -> list[dict[str, Any]]:
    counts = codes.group_by(by).agg(codes=pl.len(), events=pl.col("n_events").sum())
    return counts.sort("events", by, descending=[True, False]).to_dicts()


def _tables(ds: Dataset) -> list[dict[str, Any]]:
    """Return the events, codes and rejected rows of each table. Rejected rows are patient rows that became no event."""
    ledger = pl.read_parquet(ds.path / LEDGER, glob=False)
    rejected = ledger.filter(outcome="rejected").group_by("table").agg(rejected=pl.col("rows").sum())
    events = ledger.filter(outcome="events").group_by("table").agg(events=pl.col("events").sum())
    codes = ds.codes.group_by(table="source_table").agg(codes=pl.len())
    found = events.join(codes, on="table", how="left").join(rejected, on="table", how="left").fill_null(0)
    ordered = found.sort("events", "table", descending=[True, False])
    return ordered.select(pl.col("table").alias("source_table"), "codes", "events", "rejected").to_dicts()


def find_codes(ds: Dataset, pattern: str | None) -> pl.DataFrame:
    """Find codes by pattern, or by a word in their description or parent codes, the most frequent first.

    Args:
        ds: dataset of the codes.
        pattern: a code, a pattern with `*`, or a text in the description or a parent code, case-insensitive. None for
            all codes.
    """
    from ehrtraj.dataset.patterns import matches

    codes = ds.codes
    if pattern is not None:
        word = pl.lit(pattern.lower())
        described = pl.col("description").str.to_lowercase().str.contains(word, literal=True).fill_null(value=False)
        parents = pl.col("parent_codes").list.join(" ").str.to_lowercase().str.contains(word, literal=True)
        codes = codes.filter(matches([pattern]) | described | parents)
    return codes.sort("n_events", "code", descending=[True, False])
