"""The last step of a build: write the metadata, and move the dataset to its final path."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import duckdb
import meds
import numpy as np
import pyarrow as pa

from ehrtraj.engines.base import MemoryMeter
from ehrtraj.errors import EhrtrajError
from ehrtraj.format.ledger import TableLedger
from ehrtraj.format.manifest import write_manifest
from ehrtraj.format.workspace import DATASET, Workspace
from ehrtraj.pipeline.job import BuildJob
from ehrtraj.pipeline.plan.patients import Patients
from ehrtraj.pipeline.plan.run import Inputs
from ehrtraj.pipeline.publish import metadata
from ehrtraj.pipeline.publish.codes import CodeTables, describe_codes
from ehrtraj.pipeline.publish.losses import report_losses, settle_versions
from ehrtraj.pipeline.shard.dictionaries import read_dictionaries
from ehrtraj.pipeline.shard.run import WORKER_BYTES, dictionary_files
from ehrtraj.pipeline.stage.staged import StagedTable
from ehrtraj.results import BuildResult
from ehrtraj.runtime.profile import PUBLISH, measured, take
from ehrtraj.storage.base import Storage
from ehrtraj.version import __version__


def publish(
    job: BuildJob,
    inputs: Inputs,
    space: Workspace,
    patients: Patients,
    staged: Mapping[str, StagedTable],
    shards: Sequence[Mapping[str, Any]],
    ledger: dict[str, TableLedger],
    memory: MemoryMeter,
) -> BuildResult:
    """Write everything except the events, and move the dataset to its final path.

    Args:
        job: the build.
        inputs: inputs of the build.
        space: working folder of the build.
        patients: patients of the build.
        staged: record of each staged table.
        shards: record of each shard.
        ledger: counts of every table's rows.
        memory: memory that the build has used so far.

    Raises:
        EhrtrajError: if there are no events.
        OutputError: if the dataset's path exists and is not a dataset that may be replaced.
    """
    files, source, settings, news = space.files, job.source, job.settings, job.news
    job.reporter.step("publishing")
    versions = settle_versions(inputs.release, ledger, news)
    main = source.main_project
    release = versions[main].text if main in versions else inputs.release.version
    events = sum(t.events for t in ledger.values())
    if not events:
        raise EhrtrajError("no row became an event: there is nothing to publish")
    report_losses(ledger, versions, source, news)
    with job.timed("publish"), measured(PUBLISH):
        metadata.clear(files, shards)
        describe = partial(_describe_codes, job, inputs, files, staged)
        dataset = metadata.DatasetInfo(space.final.name, release, source, settings.clock)
        numbers = metadata.write_metadata(files, dataset, ledger, describe)
    result = BuildResult(
        path=space.final,
        already_there=False,
        release=release,
        patients=numbers["patients"],
        events=events,
        ledger=ledger,
        seconds=time.monotonic() - job.started,
        peak_memory=memory.peak,
        bytes=sum(files.size(name) or 0 for name in files.files(DATASET)),
        notes=tuple(news.notes),
        warnings=tuple(news.warnings),
        versions={project: version.text for project, version in versions.items()},
        requested=patients.requested,
        source=source.title,
    )
    with measured(PUBLISH):
        write_manifest(files.below(DATASET), _manifest(job, inputs, staged, patients, result, numbers))
        space.show(overwrite=settings.overwrite)
    news.warn(*space.warnings)
    job.add_cpu(take())
    return replace(result, warnings=tuple(news.warnings), cpu=dict(job.cpu))


def _describe_codes(
    job: BuildJob,
    inputs: Inputs,
    files: Storage,
    staged: Mapping[str, StagedTable],
    counts: pa.Table,
    facts: pa.Table,
) -> CodeTables:
    if inputs.vocabularies:
        job.reporter.step("looking up the codes in the vocabularies")
    described = describe_codes(
        counts,
        facts,
        read_dictionaries(files, dictionary_files(inputs, staged), job.source),
        job.source,
        inputs.vocabularies,
        WORKER_BYTES,
        job.settings.max_cpus,
        files.scratch(),
    )
    job.news.note(*described.notes)
    return described


def _manifest(
    job: BuildJob,
    inputs: Inputs,
    staged: Mapping[str, StagedTable],
    patients: Patients,
    result: BuildResult,
    numbers: Mapping[str, int],
) -> dict[str, Any]:
    """Return the content of `manifest.json` except the format and the list of files."""
    release, source = inputs.release, job.source
    not_data = ("output", "overwrite")
    return {
        "trajectory_version": job.settings.trajectory_version,
        "release": {
            "source": source.name,
            **({} if source.is_packaged else {"source_folder": str(source.folder)}),
            "version": result.release,
            # Readers of the dataset may run in another folder.
            "root": str(release.root.resolve()),
            "downloads": result.versions,
        },
        "summary": {"patients": result.patients, "events": result.events, "codes": numbers["codes"]},
        "files": {
            name: {
                "path": release.where(name),
                **({"outside": outside} if (outside := release.outside(name)) else {}),
                "bytes": release.files[name].size,
                "sha256": table.sha256,
                "rows": table.rows_read,
            }
            for name, table in staged.items()
        },
        "missing_tables": list(release.missing),
        "unverified": [
            name for name, roles in source.roles.owners.items() if not {role.table for role in roles} & set(staged)
        ],
        "settings": {name: value for name, value in asdict(job.settings).items() if name not in not_data},
        "settings_from": {name: origin for name, origin in job.origins.items() if origin != "default"},
        "vocabularies": {
            file.path.name: {"path": file.path, "bytes": file.path.stat().st_size} for file in inputs.vocabularies
        },
        "software": {
            "ehrtraj": __version__,
            "python": platform.python_version(),
            "duckdb": duckdb.__version__,
            "pyarrow": pa.__version__,
            "numpy": np.__version__,
            "meds": meds.__version__,
        },
        "subjects": result.requested and result.requested.to_json(),
        "shards": patients.plan.count,
        "seconds": {**{k: round(v, 3) for k, v in job.timings.items()}, "all": round(result.seconds, 3)},
        "peak_memory_bytes": result.peak_memory,
        "notes": list(result.notes),
        "warnings": list(result.warnings),
        "fingerprint": inputs.fingerprint,
    }
