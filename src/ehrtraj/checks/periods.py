"""Check that splits by time follow from the calendar periods of the patients.

The period of a patient is an event of its own, such as `ANCHOR_YEAR_GROUP//2014 - 2016`. Its event type is declared by
the source, and not stored in the dataset. A patient without such an event has an unknown period.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehrtraj.checks.findings import Finding, Findings
from ehrtraj.checks.tables import first
from ehrtraj.dataset.database import Database
from ehrtraj.errors import EhrtrajError, SettingsError
from ehrtraj.format import splits
from ehrtraj.format.names import SPLITS
from ehrtraj.sources.source import source_of

_INVARIANT = "split_periods"

# If a patient has several periods, the smallest counts, as in a build.
_KNOWN = """
CREATE OR REPLACE TABLE periods_known AS
SELECT subject_id, min(split_part(code, '//', 2)) AS period FROM periods GROUP BY subject_id
"""
_EXPECTED = """
SELECT s.subject_id, s.split, k.period, coalesce(e.split, $3) AS expected, s.place FROM chosen_splits s
LEFT JOIN periods_known k USING (subject_id)
LEFT JOIN (SELECT unnest($1) AS period, unnest($2) AS split) e ON e.period = k.period
"""


def is_by_time(manifest: Mapping[str, Any]) -> bool:
    """Return whether the splits of a dataset are those of calendar periods."""
    return splits.is_temporal(str(manifest.get("settings", {}).get("splits", splits.DEFAULT_SPLITS)))


def period_event_type(manifest: Mapping[str, Any]) -> str | None:
    """Return the event type whose item is a patient's period.

    Returns:
        None if the splits do not depend on it, or if the source of the dataset cannot be read or has no periods.
    """
    if not is_by_time(manifest):
        return None
    try:
        return source_of(manifest).declared.period_event_type
    except (EhrtrajError, KeyError):
        return None


def check_split_periods(
    tables: Database, findings: Findings, manifest: Mapping[str, Any], event_type: str | None
) -> None:
    """Check that each patient is in the split of its period, if the splits are by time.

    The periods are compared with each other as in a build: the latest of the dataset is held_out, the one before it
    tuning, and all earlier ones are train. A patient of an unknown period must be in train.

    Args:
        tables: database with the counts of the data files.
        findings: receives the violations.
        manifest: manifest of the dataset.
        event_type: event type whose item is a patient's period.
    """
    if not is_by_time(manifest):
        return
    if event_type is None:
        findings.skip("the source of the dataset does not state which event is a patient's period", _INVARIANT)
        return
    tables.execute(_KNOWN)
    periods = [period for (period,) in tables.rows("SELECT DISTINCT period FROM periods_known ORDER BY period")]
    if not periods:
        findings.skip(f"the dataset has no {event_type} events, and the splits are by time", _INVARIANT)
        return
    try:
        by_period = splits.by_period(periods)
    except SettingsError as error:
        findings.one(_INVARIANT, str(error))
        return
    wrong = f"SELECT * FROM ({_EXPECTED}) WHERE split <> expected"
    values = [list(by_period), list(by_period.values()), splits.SPLITS[0]]
    rows, count = first(tables, wrong, "place", values)
    places = [
        Finding(
            f"split is {split}, but patients of {period or 'an unknown period'} are in {expected}", SPLITS, None, who
        )
        for who, split, period, expected, _ in rows
    ]
    findings.add(_INVARIANT, places, count)
