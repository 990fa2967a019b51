"""What the files of a dataset are called, for the build that writes them and for all that read them."""

from __future__ import annotations

FORMAT = 2
"""Grows when a dataset's files change so that older code would misread them; `format` in manifest.json."""

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
"""What a file of an export can be about."""
