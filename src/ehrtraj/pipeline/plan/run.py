"""The first step of a build: find the release, and determine the tables and patients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehrtraj.config import module_folders
from ehrtraj.pipeline.job import BuildJob
from ehrtraj.pipeline.layout import PLAN
from ehrtraj.pipeline.plan.fingerprint import fingerprint_of
from ehrtraj.pipeline.plan.patients import Patients, plan_build
from ehrtraj.pipeline.plan.tables import Selection, choose_tables
from ehrtraj.pipeline.plan.vocabularies import VocabularyFile, find_vocabularies
from ehrtraj.release.detect import detect
from ehrtraj.release.found import Release
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import read_document, write_document


@dataclass(frozen=True)
class Inputs:
    """Inputs of a build.

    Attributes:
        release: the release and its files.
        selection: the tables that are read, and those that become events.
        vocabularies: files with parents of codes.
        fingerprint: everything that affects the dataset.
    """

    release: Release
    selection: Selection
    vocabularies: list[VocabularyFile]
    fingerprint: dict[str, Any]

    @property
    def patient_tables(self) -> list[str]:
        """Full names of the tables with patients that are read."""
        return [n for n in self.selection.staged if self.release.files[n].table.kind == "patient"]

    @property
    def modules(self) -> list[Path]:
        """Folders that contain only tables of the release."""
        return sorted({file.path.parent for file in self.release.files.values()})


def find_inputs(job: BuildJob) -> Inputs:
    """Find the release and the vocabularies, and select the tables.

    Raises:
        ReleaseError: if there is no release, or it lacks a requested table.
        SettingsError: if a setting names something that does not exist.
    """
    settings = job.settings
    with job.explain(settings.data_dir):
        release = detect(settings.data_dir, job.source, modules=module_folders(settings, job.source))
        selection = choose_tables(release, settings)
    vocabularies = find_vocabularies(settings, job.source)
    if vocabularies:
        job.reporter.step("reading the vocabularies")
    return Inputs(release, selection, vocabularies, fingerprint_of(settings, release, vocabularies, job.sizes))


def paths_read(job: BuildJob, inputs: Inputs) -> list[Path]:
    """Return all files and folders that the build reads and therefore must not write to."""
    settings = job.settings
    folders = (settings.overlay, settings.gem, settings.concept_maps, settings.vocabulary)
    named = (settings.subjects, settings.splits)
    subjects = [Path(name).expanduser() for name in named if name]
    paths = [inputs.release.root, *(f for f in folders if f is not None), *(f for f in subjects if f.exists())]
    return [*paths, *(f.path for f in inputs.release.files.values()), *(file.path for file in inputs.vocabularies)]


def find_patients(job: BuildJob, inputs: Inputs, storage: Storage) -> Patients:
    """Return the patients and their shards, from an earlier run of the build if there was one.

    Args:
        job: the build.
        inputs: inputs of the build.
        storage: the working folder.
    """
    if (content := read_document(storage, PLAN)) is not None:
        patients = Patients.from_json(content)
    else:
        job.reporter.step("finding the patients")
        patients = plan_build(inputs.release, job.settings, job.sizes.shard_rows)
        write_document(storage, PLAN, patients.to_json())
    if (requested := patients.requested) and (text := requested.describe("this release")):
        report = job.news.note if requested.complete else job.news.warn
        report(text)
    return patients
