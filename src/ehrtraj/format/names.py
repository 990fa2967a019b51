"""Names of a dataset's files and of what is in them, for the build and for all readers."""

from __future__ import annotations

FORMAT = 2
"""Incremented when the files change in such a way that older code would misread them; `format` in manifest.json."""

MANIFEST = "manifest.json"
DATA = "data"
DATASET_JSON = "metadata/dataset.json"
CODES = "metadata/codes.parquet"
PARENT_CODES = "metadata/parent_codes.parquet"
SUBJECTS = "metadata/subjects.parquet"
SPLITS = "metadata/subject_splits.parquet"
FLAGS = "metadata/flags.json"
EVENT_TYPES = "metadata/event_types.json"
SOURCE = "metadata/source.json"
LEDGER = "ledger.parquet"
REJECTED = "rejected"
NOTES = "notes"
APPLIED = "rules_applied.parquet"
CONCEPT_FOLDERS = ("concepts", "concepts-available", "concepts-mimic-code")
"""Folders with computed concepts. They are not in the manifest: each has an index of its own."""
CONCEPT_INDEX = "index.json"

ROW_GROUP = 1 << 16
"""A row group of a data file ends with the patient who reaches this number of rows.

The events of a patient are therefore in one row group. Readers decode its dictionaries and pages to read one patient,
and its columns should fit into the cache when the file is read completely. docs/decisions/row-groups.md has the
measurements.
"""

NO_UNIT = "UNKNOWN"
"""The last part of the code of an event without a unit, if the unit is part of all codes of its item."""

UNITS = ("patient", "admission", "icustay", "shard")
"""Units of an export: an export writes one file for each patient, admission, ICU stay or shard."""
