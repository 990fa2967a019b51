"""Publish: describe what was built, and make it visible under its name in one step."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import meds
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

import ehrtraj
from ehrtraj import rules
from ehrtraj.format import event_types
from ehrtraj.format.events import event_schema
from ehrtraj.format.ledger import TableLedger, to_table
from ehrtraj.format.manifest import MANIFEST
from ehrtraj.format.names import EVENT_TYPES, FORMAT
from ehrtraj.pipeline.publish.codes import CodeTables
from ehrtraj.pipeline.rejected import merge_rejects
from ehrtraj.pipeline.shard.applied import all_applied
from ehrtraj.pipeline.workspace import DATASET, Workspace
from ehrtraj.release.schema import Table, tables
from ehrtraj.storage.owned import remove_entry, strangers
from ehrtraj.storage.safe import sync_path

_ABOUT = {
    "mimiciv": {
        "dataset_name": "MIMIC-IV",
        "license": "PhysioNet Credentialed Health Data License 1.5.0",
        "location_uri": "https://physionet.org/content/mimiciv/",
        "description_uri": "https://mimic.mit.edu/docs/iv/",
    }
}
_DEMO_LICENSE = "Open Data Commons Open Database License v1.0"


def _read_pieces(folder: Path, kind: str) -> list[pa.Table]:
    return [feather.read_table(str(p), memory_map=False) for p in sorted(folder.glob(f"*.{kind}.arrow"))]


def _write_parquet(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")


def dataset_json(version: str, release: str, source: str, clock: str) -> dict[str, Any]:
    """MEDS' account of the dataset."""
    about = dict(_ABOUT[source])
    if release.startswith("synthetic"):
        about = {"dataset_name": "Synthetic release in the form of MIMIC-IV", "license": "MIT"}
    elif release.startswith("demo"):
        about |= {"dataset_name": "MIMIC-IV demo", "license": _DEMO_LICENSE}
    own = [
        n for n in event_schema(clock).names if n not in ("subject_id", "time", "code", "numeric_value", "text_value")
    ]
    return {
        **about,
        "dataset_version": f"{release} / {version}",
        "etl_name": "ehrtraj",
        "etl_version": ehrtraj.__version__,
        "meds_version": meds.__version__,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "raw_source_id_columns": ["hadm_id", "stay_id", "source_key", "link_id"],
        "code_modifier_columns": ["unit"],
        "additional_value_modality_columns": ["attributes"],
        "site_id_columns": [],
        "other_extension_columns": [
            n for n in own if n not in ("hadm_id", "stay_id", "source_key", "link_id", "unit", "attributes")
        ],
    }


def _flags_json() -> dict[str, Any]:
    return {
        row["flag"]: {"value": 1 << int(row["bit"]), "meaning": row["meaning"], "source": row["source"]}
        for row in rules.read_rules("flags")
    }


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


def clear(space: Workspace, accounts: Iterable[Mapping[str, Any]]) -> None:
    """Remove everything from the unpublished dataset but the files of finished shards.

    A run that was cut short while it published leaves a manifest and metadata, and they may be incomplete.

    Args:
        space: of the build.
        accounts: of all shards.
    """
    prefix = f"{DATASET}/"
    kept = {name.removeprefix(prefix) for a in accounts for name in a["files"] if name.startswith(prefix)}
    for name in strangers(space.dataset, kept):
        remove_entry(space.dataset / name)


def write_metadata(
    space: Workspace,
    source: str,
    release: str,
    clock: str,
    ledger: Mapping[str, TableLedger],
    describe: Callable[[list[pa.Table]], CodeTables],
    extra: Path | None = None,
) -> dict[str, int]:
    """Write everything beside the data: codes, subjects, splits, flags, event types, ledger and rejected rows.

    Args:
        space: of the build.
        source: whose tables.
        release: version of the release.
        clock: `event` or `available`.
        ledger: account of every table's rows.
        describe: makes of the codes by shard what is known of each.
        extra: folder with a user's own tables, if any.

    Returns:
        Numbers for the summary: patients, events, codes.
    """
    known: dict[str, Table] = tables(source, extra)
    shards = space.shard_marker(0).parent
    metadata = space.dataset / "metadata"
    # Both take about as long, and neither holds the other up.
    with ThreadPoolExecutor(1) as pool:
        merged = pool.submit(_merge_all_rejects, space, list(ledger), known)
        found = describe(_read_pieces(shards, "codes"))
        merged.result()
    _write_parquet(found.codes, metadata / "codes.parquet")
    _write_parquet(found.parents, metadata / "parent_codes.parquet")
    subjects = pa.concat_tables(_read_pieces(shards, "subjects")).sort_by("subject_id")
    _write_parquet(subjects, metadata / "subjects.parquet")
    splits = meds.SubjectSplitSchema.align(subjects.select(["subject_id", "split"]))
    meds.SubjectSplitSchema.validate(splits)
    _write_parquet(splits, metadata / "subject_splits.parquet")
    _write_json(metadata / "flags.json", _flags_json())
    _write_json(space.dataset / EVENT_TYPES, event_types.to_json(rules.event_types(extra).values()))
    about = dataset_json(space.final.name, release, source, clock)
    meds.DatasetMetadataSchema.validate(about)
    _write_json(metadata / "dataset.json", about)
    _write_parquet(to_table(ledger), space.dataset / "ledger.parquet")
    _write_parquet(all_applied(_read_pieces(shards, "applied")), space.dataset / "rules_applied.parquet")
    return {"patients": subjects.num_rows, "codes": found.codes.num_rows}


def _merge_all_rejects(space: Workspace, names: Sequence[str], known: Mapping[str, Table]) -> None:
    for name in names:
        folder = space.reject_piece(name, "staged").parent
        pieces = sorted(folder.glob("*.arrow"), key=lambda p: (p.stem != "staged", p.stem))
        merge_rejects(pieces, known[name].schema, space.dataset / "rejected" / f"{name.rpartition('/')[2]}.parquet")


def write_manifest(space: Workspace, content: Mapping[str, Any]) -> None:
    """Write `manifest.json`: the format, every file of the dataset with its size and hash, then `content`."""
    files = sorted(p for p in space.dataset.rglob("*") if p.is_file())
    # Two threads keep up with one disk; hashing lets go of the interpreter.
    with ThreadPoolExecutor(2) as pool:
        hashes = list(pool.map(_sha256, files))
    contents = {
        p.relative_to(space.dataset).as_posix(): {"bytes": p.stat().st_size, "sha256": sha256}
        for p, sha256 in zip(files, hashes, strict=True)
    }
    _write_json(space.dataset / MANIFEST, {"format": FORMAT, **content, "contents": contents})


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def make_visible(space: Workspace, *, overwrite: bool) -> None:
    """Put the complete dataset under its name, and remove the working folder.

    Everything is on the disk before the one rename that shows it, so that a power cut leaves either nothing or all.
    """
    for path in sorted(space.dataset.rglob("*")):
        sync_path(path)
    sync_path(space.dataset)
    space.show(overwrite=overwrite)
    sync_path(space.final.parent)
    space.remove()
