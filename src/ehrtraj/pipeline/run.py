"""A build, step by step: plan, stage, shard, publish."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any

from ehrtraj.engines.base import MemoryMeter
from ehrtraj.format.workspace import Workspace, locked
from ehrtraj.pipeline.job import BuildJob
from ehrtraj.pipeline.plan.overlay import check_overlay
from ehrtraj.pipeline.plan.patients import Patients
from ehrtraj.pipeline.plan.run import Inputs, find_inputs, find_patients, paths_read
from ehrtraj.pipeline.publish.ledger import check_balance, make_ledger
from ehrtraj.pipeline.result import already_there
from ehrtraj.pipeline.shard.commit import shard_is_there
from ehrtraj.pipeline.shard.run import SHARD_NEED, build_shards, finished_shards
from ehrtraj.pipeline.shard.worker import ShardWork
from ehrtraj.pipeline.slices.choose import choose_sliced, stage_instead
from ehrtraj.pipeline.slices.slice import CannotSliceError
from ehrtraj.pipeline.stage.run import stage
from ehrtraj.pipeline.stage.staged import StagedTable
from ehrtraj.results import BuildResult
from ehrtraj.runtime.processes import lean_memory, return_memory
from ehrtraj.runtime.profile import take
from ehrtraj.storage.base import Storage
from ehrtraj.storage.failures import explained_failures
from ehrtraj.storage.files import private_files

_PUBLISH = "ehrtraj.pipeline.publish.run"


def run(job: BuildJob) -> BuildResult:
    """Build a dataset, or return the existing one if it was already built.

    Args:
        job: the build.

    Raises:
        EhrtrajError: if the build fails; the message explains how to fix it.
    """
    settings = job.settings
    check_overlay(job.source)
    lean_memory()
    space = Workspace(job.output, settings.trajectory_version)
    take()  # what earlier work of this process has measured
    with private_files(), job.engine.memory() as memory, explained_failures(space.root.parent):
        inputs = find_inputs(job)
        done = already_there(space, inputs.fingerprint, job.news, overwrite=settings.overwrite)
        if done and not space.published:
            return done
        space.check_target(paths_read(job, inputs), inputs.modules, overwrite=settings.overwrite)
        with locked(job.output, settings.trajectory_version):
            space.restore()
            if done := already_there(space, inputs.fingerprint, job.news, overwrite=settings.overwrite):
                # If a build is killed just before its last step, the working folder remains.
                if space.published:
                    space.remove()
                return done
            space.prepare(inputs.fingerprint)
            return _build(job, inputs, space, memory)


def _build(job: BuildJob, inputs: Inputs, space: Workspace, memory: MemoryMeter) -> BuildResult:
    """Run the steps of a build, except those that are already finished in the working folder."""
    release, selection, files = inputs.release, inputs.selection, space.files
    job.news.note(*release.notes, *job.hints(release.root), *selection.notes)
    job.news.warn(*release.warnings, *selection.warnings)
    if space.resumed:
        job.news.note("an earlier run of this build was interrupted: resuming where it stopped")
    patients = find_patients(job, inputs, files)
    while True:
        try:
            staged, shards = _make_events(job, inputs, files, patients)
            break
        except CannotSliceError as error:
            job.news.note(
                f"{error.table} is not ordered by subject_id, or has a quote that is not closed: the build starts over "
                "and reads it in another way"
            )
            stage_instead(files, error.table)
    from ehrtraj.pipeline.publish.run import publish

    ledger = make_ledger(staged.values(), shards, selection.event_tables, selection.dictionaries)
    check_balance(ledger)
    return publish(job, inputs, space, patients, staged, shards, ledger, memory)


def _make_events(
    job: BuildJob, inputs: Inputs, files: Storage, patients: Patients
) -> tuple[dict[str, StagedTable], list[dict[str, Any]]]:
    """Read all tables and build all shards, and return the records of both."""
    plan = patients.plan
    sliced = choose_sliced(job, inputs, files, plan)
    done = finished_shards(files)
    with job.engine.prepare(ShardWork, plan.count - len(done), SHARD_NEED):
        with job.timed("stage"):
            staged = stage(job, inputs, files, plan, sliced, set(done))
        # If staged files were lost, staging starts over and removes the files of shards.
        done = {number: record for number, record in done.items() if shard_is_there(files, record)}
        return_memory()
        # Importing `meds` takes 70 ms. It is only needed to publish, and imported while shards are built.
        threading.Thread(target=import_module, args=(_PUBLISH,), daemon=True).start()
        with job.timed("extract"):
            shards, read = build_shards(job, inputs, files, patients, staged, sliced, done)
    tables = {**staged, **read}
    return {name: tables[name] for name in inputs.selection.staged}, shards
