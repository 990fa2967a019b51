"""What a dataset invariants: the names under which `ehrtraj check` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["MEDS", "ehrtraj"]


@dataclass(frozen=True)
class Invariant:
    """One thing that readers may rely on.

    Attributes:
        name: short, for reports.
        words: what holds.
        scope: `MEDS` for rules of MEDS 0.4, which any of its datasets must keep; `ehrtraj` for what ours add.
    """

    name: str
    words: str
    scope: Scope


def _all() -> dict[str, Invariant]:
    meds = {
        "readable": "every file is there and whole",
        "schema": "data files have the columns and types of MEDS",
        "not_null": "subject_id and code are never null",
        "one_file": "a patient is in one data file",
        "contiguous": "a patient's events lie together",
        "time_order": "a patient's events are in order of time, those without one first",
        "codes_schema": "codes.parquet has the columns and types of MEDS",
        "codes_unique": "a code has one line in codes.parquet",
        "codes_covered": "every observed code is in codes.parquet",
        "splits_schema": "subject_splits.parquet has the columns, types and split names of MEDS",
        "one_split": "a patient is in one split, once",
        "splits_covered": "every patient with events is in a split",
        "dataset_json": "dataset.json is as MEDS has it",
    }
    ours = {
        "columns": "data files have the columns and types of an event, in their order",
        "total_order": "patients ascend, and equal times are in the published order",
        "no_repeats": "no two events are alike in every column, unless flagged",
        "finite": "numeric_value is a number or null",
        "text": "texts are UTF-8",
        "available_time": "every event with a time has an available_time that is not before it",
        "time_precision": "time_precision is second, minute, day or year",
        "flags": "every bit of flags is in flags.json",
        "raw_value": "raw_value and raw_unit differ from what replaced them, and a flag says why",
        "attributes": "attributes are JSON objects",
        "births_and_deaths": "a patient is born once and dies once at most",
        "encounters": "hadm_id and stay_id belong to one patient, unless flagged",
        "one_unit": "the numbers of a code are in one unit",
        "event_types": "the first part of a code is a known event type",
        "code_counts": "events, patients, units and tables in codes.parquet are those of the events",
        "split_hash": "splits are those of the hash of subject_id and the seed",
        "split_folders": "a patient is in the folder of its split",
        "subjects": "subjects.parquet has each patient's file, position, events and times",
        "ledger": "rows read are rows that became events, were rejected, not chosen, or dictionaries",
        "ledger_events": "the ledger's events are those in the files",
        "rejected": "the rejected rows of the ledger are those in rejected/",
        "rules_applied": "what each rule did, by rules_applied.parquet, are the flags of the events",
        "notes": "the texts in notes/ are those of the events that are marked so",
        "summary": "patients, events and codes are as many as the manifest says",
        "hashes": "files have the size and SHA-256 that the manifest says, and no other file is there",
        "private": "folders are 0700 and files 0600",
    }
    invariants = [Invariant(name, words, "MEDS") for name, words in meds.items()]
    invariants += [Invariant(name, words, "ehrtraj") for name, words in ours.items()]
    return {invariant.name: invariant for invariant in invariants}


INVARIANTS = _all()
"""Every invariant by its name, in the order in which they are reported."""
