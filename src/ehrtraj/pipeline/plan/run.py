"""The first step: find the release, and decide which tables and patients the build covers."""

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
    """What a build reads.

    Attributes:
        release: its files.
        selection: the tables that are read, and those that become events.
        vocabularies: files that give codes their parents.
        fingerprint: everything that decides the dataset.
    """

    release: Release
    selection: Selection
    vocabularies: list[VocabularyFile]
    fingerprint: dict[str, Any]

    @property
    def patient_tables(self) -> list[str]:
        """Full names of the tables with rows of patients that are read."""
        return [n for n in self.selection.staged if self.release.files[n].table.kind == "patient"]

    @property
    def modules(self) -> list[Path]:
        """Folders that hold nothing but tables of the release."""
        return sorted({file.path.parent for file in self.release.files.values()})


def find_inputs(job: BuildJob) -> Inputs:
    """Find the release and the vocabularies, and choose the tables.

    Raises:
        ReleaseError: if there is no release, or it lacks what the settings ask for.
        SettingsError: if the settings ask for what does not exist.
    """
    settings = job.settings
    with job.explain(settings.data_dir):
        release = detect(settings.data_dir, job.source, modules=module_folders(settings, job.source))
        selection = choose_tables(release, settings)
    vocabularies = find_vocabularies(settings, job.source)
    if vocabularies:
        job.reporter.step("reading the vocabularies")
    return Inputs(release, selection, vocabularies, fingerprint_of(settings, release, vocabularies))


def paths_read(job: BuildJob, inputs: Inputs) -> list[Path]:
    """Every file and folder that the build reads, which it must not write to."""
    settings = job.settings
    folders = (settings.overlay, settings.gem, settings.concept_maps, settings.vocabulary)
    named = [Path(settings.subjects).expanduser()] if settings.subjects else []
    paths = [inputs.release.root, *(f for f in folders if f is not None), *(f for f in named if f.exists())]
    return [*paths, *(f.path for f in inputs.release.files.values()), *(file.path for file in inputs.vocabularies)]


def find_patients(job: BuildJob, inputs: Inputs, storage: Storage) -> Patients:
    """The patients and their shards, as an earlier run left them or found now.

    Args:
        job: the build.
        inputs: that it reads.
        storage: the working folder.
    """
    if (content := read_document(storage, PLAN)) is not None:
        patients = Patients.from_json(content)
    else:
        job.reporter.step("finding the patients")
        patients = plan_build(inputs.release, job.settings)
        write_document(storage, PLAN, patients.to_json())
    if (requested := patients.requested) and (text := requested.describe("this release")):
        report = job.news.note if requested.complete else job.news.warn
        report(text)
    return patients
