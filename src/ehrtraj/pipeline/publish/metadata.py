"""Write the metadata and the manifest of a dataset."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import meds
import pyarrow as pa
import pyarrow.feather as feather

from ehrtraj import rules
from ehrtraj.format import event_types, names
from ehrtraj.format.events import event_schema
from ehrtraj.format.ledger import TableLedger, to_table
from ehrtraj.format.tallies import NUMBERS, TIMES, all_numbers, all_times
from ehrtraj.format.workspace import DATASET
from ehrtraj.pipeline.layout import SHARDS, UNPARSED, rejected_folder
from ehrtraj.pipeline.publish.codes import CodeTables
from ehrtraj.pipeline.rejected import merge_rejected
from ehrtraj.pipeline.shard.applied import all_applied
from ehrtraj.pipeline.shard.code_facts import all_counts, all_facts
from ehrtraj.release.schema import Table
from ehrtraj.sources.source import Source
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import as_json
from ehrtraj.storage.parquet import write_parquet
from ehrtraj.version import __version__

_ADDED_ROWS = 2_000_000


@dataclass(frozen=True)
class DatasetInfo:
    """General information about the dataset for its metadata.

    Attributes:
        version: name of the dataset.
        release: version of the release.
        source: source of the release.
        clock: `event` or `available`.
    """

    version: str
    release: str
    source: Source
    clock: str


def _read_pieces(storage: Storage, kind: str) -> Iterator[pa.Table]:
    """Yield the tables of one kind that the shards wrote."""
    for name in storage.files(SHARDS):
        if name.endswith(f".{kind}.arrow"):
            with storage.open_input(name) as source:
                yield feather.read_table(source)


def _add_pieces(storage: Storage, kind: str, add: Callable[[list[pa.Table]], pa.Table]) -> pa.Table:
    """Add up the counts of all shards, a limited number of rows at a time."""
    pieces: list[pa.Table] = []
    for piece in _read_pieces(storage, kind):
        pieces.append(piece)
        if sum(p.num_rows for p in pieces) > _ADDED_ROWS:
            pieces = [add(pieces)]
    return add(pieces)


def dataset_json(dataset: DatasetInfo) -> dict[str, Any]:
    """Return the content of `dataset.json`, the dataset metadata defined by MEDS."""
    meds_columns = ("subject_id", "time", "code", "numeric_value", "text_value")
    extension_columns = [n for n in event_schema(dataset.clock).names if n not in meds_columns]
    return {
        **dataset.source.about(dataset.release),
        "dataset_version": f"{dataset.release} / {dataset.version}",
        "etl_name": "ehrtraj",
        "etl_version": __version__,
        "meds_version": meds.__version__,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "raw_source_id_columns": ["hadm_id", "stay_id", "source_key", "link_id"],
        # Rows of one code can differ in their unit (null without a number), but codes.parquet has one row per code: no
        # column distinguishes codes.
        "code_modifier_columns": [],
        "additional_value_modality_columns": ["attributes"],
        "site_id_columns": [],
        "other_extension_columns": [
            n for n in extension_columns if n not in ("hadm_id", "stay_id", "source_key", "link_id", "attributes")
        ],
    }


def _flags_json() -> dict[str, Any]:
    return {
        row["flag"]: {"value": 1 << int(row["bit"]), "meaning": row["meaning"], "source": row["source"]}
        for row in rules.read_general("flags")
    }


def _write_json(storage: Storage, name: str, content: object) -> None:
    storage.write(name, as_json(content, indent=2))


def clear(storage: Storage, shards: Iterable[Mapping[str, Any]]) -> None:
    """Remove everything except the files of finished shards from the unpublished dataset.

    A run that was interrupted while publishing leaves a manifest and metadata, which may be incomplete.

    Args:
        storage: the working folder.
        shards: record of each shard.
    """
    prefix = f"{DATASET}/"
    kept = {name.removeprefix(prefix) for shard in shards for name in shard["files"] if name.startswith(prefix)}
    for name in storage.unlisted_entries(DATASET, kept):
        storage.delete(f"{prefix}{name.removesuffix('/')}")


def write_metadata(
    storage: Storage,
    dataset: DatasetInfo,
    ledger: Mapping[str, TableLedger],
    describe: Callable[[pa.Table, pa.Table], CodeTables],
) -> dict[str, int]:
    """Write all files except the data: codes, subjects, splits, flags, event types, ledger and rejected rows.

    Args:
        storage: the working folder.
        dataset: general information about the dataset.
        ledger: counts of every table's rows.
        describe: returns the metadata of the codes, given their counts and the facts about them.

    Returns:
        Numbers of patients and codes for the summary.
    """
    files = storage.below(DATASET)
    # The two tasks take about the same time and do not depend on each other.
    with ThreadPoolExecutor(1) as pool:
        merged = pool.submit(_merge_all_rejected, storage, list(ledger), dataset.source.tables)
        described = describe(_add_pieces(storage, "codes", all_counts), _add_pieces(storage, "facts", all_facts))
        merged.result()
    write_parquet(files, names.CODES, described.codes)
    write_parquet(files, names.PARENT_CODES, described.parents)
    subjects = pa.concat_tables(_read_pieces(storage, "subjects")).sort_by("subject_id")
    write_parquet(files, names.SUBJECTS, subjects)
    splits = meds.SubjectSplitSchema.align(subjects.select(["subject_id", "split"]))
    meds.SubjectSplitSchema.validate(splits)
    write_parquet(files, names.SPLITS, splits)
    _write_json(files, names.FLAGS, _flags_json())
    _write_json(files, names.EVENT_TYPES, event_types.to_json(dataset.source.event_types.values()))
    _write_json(files, names.SOURCE, dataset.source.facts.to_json())
    about = dataset_json(dataset)
    meds.DatasetMetadataSchema.validate(about)
    _write_json(files, names.DATASET_JSON, about)
    write_parquet(files, names.LEDGER, to_table(ledger))
    write_parquet(files, names.APPLIED, _add_pieces(storage, "applied", all_applied))
    write_parquet(files, NUMBERS, _add_pieces(storage, "numbers", all_numbers))
    write_parquet(files, TIMES, _add_pieces(storage, "times", all_times))
    return {"patients": subjects.num_rows, "codes": described.codes.num_rows}


def _merge_all_rejected(storage: Storage, tables: Sequence[str], known: Mapping[str, Table]) -> None:
    for table in tables:
        folder = rejected_folder(table)
        pieces = sorted(storage.files(folder), key=lambda p: (not p.startswith(f"{folder}/{UNPARSED}"), p))
        target = f"{DATASET}/{names.REJECTED}/{table.rpartition('/')[2]}.parquet"
        merge_rejected(storage, pieces, known[table].schema, target)
