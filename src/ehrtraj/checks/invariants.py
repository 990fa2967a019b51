"""The invariants of a dataset, and the names under which `ehrtraj check` reports them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["MEDS", "ehrtraj"]


@dataclass(frozen=True)
class Invariant:
    """A property of a dataset that readers can rely on.

    Attributes:
        name: short name for reports.
        words: description of the property.
        scope: `MEDS` for rules of MEDS 0.4, which every MEDS dataset must follow; `ehrtraj` for additional ones.
    """

    name: str
    words: str
    scope: Scope


def _all() -> dict[str, Invariant]:
    meds = {
        "readable": "every file exists and can be read",
        "schema": "data files have the columns and types of MEDS",
        "not_null": "subject_id and code are never null",
        "one_file": "a patient is in one data file",
        "contiguous": "a patient's events are contiguous",
        "time_order": "a patient's events are in order of time, events without a time first",
        "codes_schema": "codes.parquet has the columns and types of MEDS",
        "codes_unique": "a code has one line in codes.parquet",
        "codes_covered": "every observed code is in codes.parquet",
        "splits_schema": "subject_splits.parquet has the columns, types and split names of MEDS",
        "one_split": "a patient is in one split, once",
        "splits_covered": "every patient with events is in a split",
        "dataset_json": "dataset.json follows the schema of MEDS",
    }
    additional = {
        "columns": "data files have the columns and types of an event, in this order",
        "total_order": "patients ascend, and events of equal time are in the published order",
        "no_repeats": "no two events are equal in every column, unless flagged",
        "finite": "numeric_value is a number or null",
        "text": "texts are UTF-8",
        "available_time": "every event with a time has an available_time that is not before it",
        "time_precision": "time_precision is second, minute, day or year",
        "flags": "every bit of flags is in flags.json",
        "raw_value": "raw_value and raw_unit differ from the standardised values, and a flag explains why",
        "attributes": "attributes are JSON objects",
        "births_and_deaths": "a patient has at most one birth and one death",
        "encounters": "hadm_id and stay_id belong to one patient, unless flagged",
        "one_unit": "the numbers of a code are in one unit",
        "event_types": "the first part of a code is a known event type",
        "code_counts": "events, patients, units and tables in codes.parquet agree with the events",
        "split_hash": "splits follow from the hash of subject_id and the seed",
        "split_periods": "splits by time follow from the calendar periods of the patients",
        "split_folders": "a patient is in the folder of its split",
        "subjects": "subjects.parquet has each patient's file, position, events and times",
        "ledger": "every row read became events, was rejected, was not selected, or belongs to a dictionary",
        "ledger_events": "the ledger's event counts agree with the files",
        "rejected": "the rejected rows in the ledger agree with rejected/",
        "rules_applied": "rules_applied.parquet agrees with the flags of the events",
        "notes": "the texts in notes/ belong to the events flagged with text_separate",
        "summary": "the numbers of patients, events and codes agree with the manifest",
        "hashes": "files have the size and SHA-256 in the manifest, and there are no other files except hidden ones",
        "concepts": "computed concepts have the files, rows and times in their index, and belong to this build",
        "private": "folders have mode 0700 and files 0600",
    }
    invariants = [Invariant(name, words, "MEDS") for name, words in meds.items()]
    invariants += [Invariant(name, words, "ehrtraj") for name, words in additional.items()]
    return {invariant.name: invariant for invariant in invariants}


INVARIANTS = _all()
"""All invariants by name, in the order of reports."""
