"""Names of a dataset's files, for the build and for all readers."""

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

UNITS = ("patient", "admission", "icustay", "shard")
"""Units of an export: an export writes one file for each patient, admission, ICU stay or shard."""
