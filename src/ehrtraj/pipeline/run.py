"""One build from its settings to its dataset."""

from __future__ import annotations

import errno
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import meds
import numpy as np
import pyarrow as pa

import ehrtraj
from ehrtraj.config import Settings, capped_cpus, module_folders, settings_news
from ehrtraj.download.hint import download_notes, naming_what_is_missing
from ehrtraj.engines.local import run_shards
from ehrtraj.errors import EhrtrajError, OutputError
from ehrtraj.format.ledger import TableLedger
from ehrtraj.paths import error_of_path
from ehrtraj.pipeline.news import News
from ehrtraj.pipeline.plan.fingerprint import fingerprint_of
from ehrtraj.pipeline.plan.overlay import check_own
from ehrtraj.pipeline.plan.patients import Patients, plan_build
from ehrtraj.pipeline.plan.shards import Plan
from ehrtraj.pipeline.plan.tables import Selection, choose_tables
from ehrtraj.pipeline.plan.vocabularies import VocabularyFile, find_vocabularies
from ehrtraj.pipeline.publish import metadata as publish
from ehrtraj.pipeline.publish.codes import CodeTables, describe_codes
from ehrtraj.pipeline.publish.ledger import check, make_ledger
from ehrtraj.pipeline.publish.losses import report_losses, settle_versions
from ehrtraj.pipeline.result import BuildResult, already_there
from ehrtraj.pipeline.shard.commit import commit, free_inputs, shard_is_there
from ehrtraj.pipeline.shard.dictionaries import read_dictionaries
from ehrtraj.pipeline.shard.task import OWNERS, TABLES_OF_ALL, ShardJob, ShardTask
from ehrtraj.pipeline.stage.staged import StagedFile, StagedTable, finished, inputs_of
from ehrtraj.pipeline.stage.table import stage_table
from ehrtraj.pipeline.workspace import Workspace, locked
from ehrtraj.release.detect import Release, detect
from ehrtraj.release.history import projects
from ehrtraj.runtime.memory import PeakMemory
from ehrtraj.runtime.processes import lean_memory
from ehrtraj.runtime.progress import Reporter
from ehrtraj.storage.files import private_files, read_json, write_json

# What a process takes by itself, and what a worker needs beside it for a part of PART_ROWS rows: measured at 0.15 GB
# and 0.55 GB; the rest is head room.
_BASE_BYTES = 400 * 10**6
_WORKER_BYTES = 800 * 10**6
_MOST_ROUND_BYTES = 128 << 20


def run(settings: Settings, reporter: Reporter, origins: Mapping[str, str] | None = None) -> BuildResult:
    """Build a dataset.

    Args:
        settings: of the build.
        reporter: is notified of progress.
        origins: where each setting came from, as `resolve` returns it.

    Raises:
        EhrtrajError: see `ehrtraj.build`.
    """
    cpus, note = capped_cpus(settings.max_cpus)
    settings = replace(settings, max_cpus=cpus)
    news = News(reporter)
    if note:
        news.note(note)
    notes, warnings = settings_news(settings, origins or {})
    news.note(*notes)
    news.warn(*warnings)
    try:
        result = _run_build(settings, reporter, news, origins or {})
        if not settings.export:
            return result
        from ehrtraj.dataset.export.beside import export_beside

        return replace(result, exports=export_beside(result.path, settings, reporter))
    finally:
        reporter.close()


def _run_build(settings: Settings, reporter: Reporter, news: News, origins: Mapping[str, str]) -> BuildResult:
    started = time.monotonic()
    check_own(settings)
    lean_memory()
    space = Workspace(settings.output, settings.trajectory_version)
    with private_files(), PeakMemory() as memory, _errors_in_words(space):
        with naming_what_is_missing(settings.data_dir):
            release = detect(settings.data_dir, modules=module_folders(settings), extra=settings.recipes)
            selection = choose_tables(release, settings)
        vocabularies = find_vocabularies(settings)
        if vocabularies:
            reporter.step("reading the vocabularies")
        fingerprint = fingerprint_of(settings, release, vocabularies)
        if (done := already_there(space, fingerprint, news, overwrite=settings.overwrite)) and not space.published:
            return done
        inputs, modules = _inputs_of(settings, release, vocabularies)
        space.check_target(inputs, modules, overwrite=settings.overwrite)
        with locked(settings.output, settings.trajectory_version):
            space.restore()
            if done := already_there(space, fingerprint, news, overwrite=settings.overwrite):
                # A build that was killed after its last step but one leaves its working folder.
                if space.published:
                    space.remove()
                return done
            space.prepare(fingerprint)
            return _Build(
                settings, reporter, news, origins, space, release, selection, vocabularies, fingerprint, memory, started
            ).run()


def _inputs_of(
    settings: Settings, release: Release, vocabularies: list[VocabularyFile]
) -> tuple[list[Path], list[Path]]:
    """Everything that the build reads, and the folders that hold nothing but tables of the release."""
    folders = (settings.rules, settings.recipes, settings.gem, settings.concept_maps, settings.vocabulary)
    named = [Path(settings.subjects).expanduser()] if settings.subjects else []
    inputs = [release.root, *(f for f in folders if f is not None), *(f for f in named if f.exists())]
    inputs += [*(f.path for f in release.files.values()), *(file.path for file in vocabularies)]
    return inputs, sorted({file.path.parent for file in release.files.values()})


@contextmanager
def _errors_in_words(space: Workspace) -> Iterator[None]:
    """Say in plain words what a failed write means."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"the disk that holds {space.root.parent} is full. Free some space and run the same command again: "
                "it goes on where it stopped"
            ) from error
        # Where pyarrow fails to write, the error names no file: what reads the release has errors of its own.
        if error.filename is not None and (found := error_of_path(error, space.root.parent)) is not None:
            raise found from error
        raise OutputError(
            f"cannot work in {space.root.parent}: {error}. Check the disk, then run the same command again: it goes on "
            "where it stopped"
        ) from error
    except pa.ArrowMemoryError as error:
        raise OutputError(
            f"memory ran out ({error}): give a smaller --max-cpus and run the same command again"
        ) from error


class _Build:
    """The steps of one build, over a working folder that may hold finished ones."""

    def __init__(
        self,
        settings: Settings,
        reporter: Reporter,
        news: News,
        origins: Mapping[str, str],
        space: Workspace,
        release: Release,
        selection: Selection,
        vocabularies: list[VocabularyFile],
        fingerprint: dict[str, Any],
        memory: PeakMemory,
        started: float,
    ) -> None:
        self._settings = settings
        self._reporter = reporter
        self._news = news
        self._origins = origins
        self._space = space
        self._release = release
        self._selection = selection
        self._vocabularies = vocabularies
        self._fingerprint = fingerprint
        self._memory = memory
        self._started = started
        self._timings: dict[str, float] = {}

    def run(self) -> BuildResult:
        self._news.note(*self._release.notes, *download_notes(self._release.root), *self._selection.notes)
        self._news.warn(*self._release.warnings, *self._selection.warnings)
        if self._space.resumed:
            self._news.note("an earlier run of this build was cut short: going on where it stopped")
        patients = self._patients()
        plan = patients.plan
        done = self._finished_shards()
        staged = self._stage(plan, set(done))
        done = {number: account for number, account in done.items() if shard_is_there(self._space, account)}
        accounts = self._extract(plan, staged, done)
        ledger = make_ledger(staged.values(), accounts, self._selection.wanted, self._selection.dictionaries)
        check(ledger)
        return self._publish(ledger, staged, patients, accounts)

    def _patients(self) -> Patients:
        path = self._space.root / "plan.json"
        if (content := read_json(path)) is not None:
            patients = Patients.from_json(content)
        else:
            self._reporter.step("finding the patients")
            patients = plan_build(self._release, self._settings)
            write_json(path, patients.to_json())
        if (requested := patients.requested) and (text := requested.describe("this release")):
            report = self._news.note if requested.complete else self._news.warn
            report(text)
        return patients

    def _finished_shards(self) -> dict[int, dict[str, Any]]:
        found = {}
        for marker in sorted(self._space.shard_marker(0).parent.glob("*.json")):
            account = read_json(marker)
            if account is not None and shard_is_there(self._space, account):
                found[int(account["shard"])] = account
        return found

    def _stage(self, plan: Plan, done: set[int]) -> dict[str, StagedTable]:
        begun = time.monotonic()
        names = self._selection.staged
        staged = {n: s for n in names if (s := self._finished(n, done)) is not None}
        if done and len(staged) < len(names):
            # A staged table was lost after shards were made of it: shards delete what they have used, so start over.
            shutil.rmtree(self._space.shard_marker(0).parent, ignore_errors=True)
            shutil.rmtree(self._space.dataset, ignore_errors=True)
            done.clear()
            staged = {n: s for n in names if (s := self._finished(n, done)) is not None}
        files = {n: self._release.files[n] for n in names if n not in staged}
        self._reporter.staging(sum(f.size for f in files.values()))
        threads = self._settings.max_cpus
        budget = min(_MOST_ROUND_BYTES, self._settings.memory_limit // 16)
        with ThreadPoolExecutor(threads) as pool:
            for name, file in files.items():
                staged[name] = stage_table(
                    file,
                    plan if file.table.kind == "patient" else None,
                    self._space.staged(name),
                    self._space.reject_piece(name, "staged"),
                    pool,
                    threads,
                    budget,
                    lambda consumed, rows, name=name: self._reporter.staged(name, consumed, rows),  # type: ignore[misc]
                )
                # Else what one table's blocks leave behind lies beside the next one's.
                pa.default_memory_pool().release_unused()
        self._timings["stage"] = time.monotonic() - begun
        return staged

    def _finished(self, name: str, done: set[int]) -> StagedTable | None:
        # Every shard asks whose an admission or stay is: these files stay when their own shard is done.
        gone = set() if name in TABLES_OF_ALL else done
        return finished(self._space.staged(name), self._space.reject_piece(name, "staged"), gone)

    def _extract(
        self, plan: Plan, staged: Mapping[str, StagedTable], done: Mapping[int, dict[str, Any]]
    ) -> list[dict[str, Any]]:
        begun = time.monotonic()
        tasks = self._tasks(plan, staged)
        workers = max(1, min(self._settings.max_cpus, self._room_for_workers()))
        if workers < self._settings.max_cpus:
            self._reporter.note(
                f"{workers} of {self._settings.max_cpus} processors at work on shards: more would not fit into the "
                "--memory-limit"
            )
        for shard in set(done) & set(tasks):
            # Killed between a shard's marker and this step, an earlier run left them.
            free_inputs(tasks[shard], kept=TABLES_OF_ALL)
        # The largest first, so that none is left alone at the end.
        todo = sorted((t for s, t in tasks.items() if s not in done), key=lambda t: (-t.rows, t.shard))
        self._reporter.extracting(len(todo), sum(task.rows for task in todo))
        accounts = dict(done)
        for result in run_shards(self._job(staged), todo, workers):
            account = accounts[result.account["shard"]] = commit(self._space, result)
            task = tasks[account["shard"]]
            free_inputs(task, kept=TABLES_OF_ALL)
            self._reporter.extracted(task.rows, sum(t["events"] for t in account["tables"].values()))
        self._timings["extract"] = time.monotonic() - begun
        return [accounts[s] for s in sorted(accounts)]

    def _tasks(self, plan: Plan, staged: Mapping[str, StagedTable]) -> dict[int, ShardTask]:
        """Every shard that has rows, with its staged files."""
        files: dict[int, dict[str, tuple[StagedFile, ...]]] = {shard: {} for shard in range(plan.count)}
        rows = dict.fromkeys(range(plan.count), 0)
        for name in self._patient_tables():
            for shard, count in staged[name].shards.items():
                rows[shard] += count
                files[shard][name] = inputs_of(staged[name], self._space.staged(name), shard)
        return {shard: ShardTask(shard, count, files[shard]) for shard, count in rows.items() if count}

    def _patient_tables(self) -> list[str]:
        return [n for n in self._selection.staged if self._release.files[n].table.kind == "patient"]

    def _dictionary_files(self, staged: Mapping[str, StagedTable]) -> dict[str, tuple[StagedFile, ...]]:
        return {n: inputs_of(staged[n], self._space.staged(n)) for n in self._selection.dictionaries}

    def _job(self, staged: Mapping[str, StagedTable]) -> ShardJob:
        settings = self._settings
        of_all = sorted(TABLES_OF_ALL & set(self._patient_tables()))
        return ShardJob(
            source=self._release.source,
            root=self._space.root,
            wanted=self._selection.wanted,
            staged=tuple(self._patient_tables()),
            clock=settings.clock,
            seed=settings.seed,
            memory=_WORKER_BYTES,
            of_all={n: inputs_of(staged[n], self._space.staged(n)) for n in of_all},
            dictionaries=self._dictionary_files(staged),
            standardise=settings.standardise,
            rules=settings.rules,
            recipes=settings.recipes,
            notes=settings.notes,
        )

    def _room_for_workers(self) -> int:
        return (self._settings.memory_limit - _BASE_BYTES) // _WORKER_BYTES

    def _publish(
        self,
        ledger: dict[str, TableLedger],
        staged: Mapping[str, StagedTable],
        patients: Patients,
        accounts: list[dict[str, Any]],
    ) -> BuildResult:
        begun = time.monotonic()
        self._reporter.step("publishing")
        versions = settle_versions(self._release, ledger, self._news)
        main = next(iter(projects(self._release.source)))
        release = versions[main].text if main in versions else self._release.version
        events = sum(t.events for t in ledger.values())
        if not events:
            raise EhrtrajError("no row became an event: there is nothing to publish")
        report_losses(ledger, versions, self._release.source, self._news)
        publish.clear(self._space, accounts)
        numbers = publish.write_metadata(
            self._space,
            self._release.source,
            release,
            self._settings.clock,
            ledger,
            partial(self._describe_codes, staged),
            self._settings.recipes,
        )
        self._timings["publish"] = time.monotonic() - begun
        size = sum(p.stat().st_size for p in self._space.dataset.rglob("*") if p.is_file())
        result = BuildResult(
            path=self._space.final,
            already_there=False,
            release=release,
            patients=numbers["patients"],
            events=events,
            ledger=ledger,
            seconds=time.monotonic() - self._started,
            peak_memory=self._memory.peak,
            bytes=size,
            notes=tuple(self._news.notes),
            warnings=tuple(self._news.warnings),
            versions={project: version.text for project, version in versions.items()},
            requested=patients.requested,
        )
        publish.write_manifest(self._space, self._manifest(result, staged, patients.plan, numbers))
        publish.make_visible(self._space, overwrite=self._settings.overwrite)
        self._news.warn(*self._space.warnings)
        return replace(result, warnings=tuple(self._news.warnings))

    def _describe_codes(self, staged: Mapping[str, StagedTable], pieces: list[pa.Table]) -> CodeTables:
        source, extra = self._release.source, self._settings.recipes
        if self._vocabularies:
            self._reporter.step("looking the codes up in the vocabularies")
        found = describe_codes(
            pieces,
            read_dictionaries(self._dictionary_files(staged), source, extra),
            source,
            self._vocabularies,
            self._settings.rules,
            _WORKER_BYTES,
            self._settings.max_cpus,
            extra,
            self._space.spill,
        )
        self._news.note(*found.notes)
        return found

    def _manifest(
        self, result: BuildResult, staged: Mapping[str, StagedTable], plan: Plan, numbers: Mapping[str, int]
    ) -> dict[str, Any]:
        settings = self._settings
        return {
            "trajectory_version": settings.trajectory_version,
            "release": {
                "source": self._release.source,
                "version": result.release,
                "root": str(self._release.root),
                "downloads": result.versions,
            },
            "summary": {"patients": result.patients, "events": result.events, "codes": numbers["codes"]},
            "files": {
                name: {
                    "path": self._release.where(name),
                    "bytes": self._release.files[name].size,
                    "sha256": table.sha256,
                    "rows": table.rows_read,
                }
                for name, table in staged.items()
            },
            "missing_tables": list(self._release.missing),
            "unverified": [name for name, tables in OWNERS.items() if not set(tables) & set(staged)],
            "settings": {
                name: value for name, value in asdict(settings).items() if name not in ("output", "overwrite")
            },
            "settings_from": {name: origin for name, origin in self._origins.items() if origin != "default"},
            "vocabularies": {
                file.path.name: {"path": file.path, "bytes": file.path.stat().st_size} for file in self._vocabularies
            },
            "software": {
                "ehrtraj": ehrtraj.__version__,
                "python": platform.python_version(),
                "duckdb": duckdb.__version__,
                "pyarrow": pa.__version__,
                "numpy": np.__version__,
                "meds": meds.__version__,
            },
            "subjects": result.requested and result.requested.to_json(),
            "shards": plan.count,
            "seconds": {
                **{k: round(v, 3) for k, v in self._timings.items()},
                "all": round(result.seconds, 3),
            },
            "peak_memory_bytes": result.peak_memory,
            "notes": list(result.notes),
            "warnings": list(result.warnings),
            "fingerprint": self._fingerprint,
        }
