"""Build a dataset from Python."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrtraj.arguments import Texts, check_argument, checked, listed
from ehrtraj.config import SETTINGS, Settings, resolve, settings_news
from ehrtraj.declaration import show_parameters
from ehrtraj.download.hint import adding_missing_files_to_errors, download_notes
from ehrtraj.engines.base import Engine
from ehrtraj.engines.local import LocalEngine
from ehrtraj.pipeline.job import BuildJob
from ehrtraj.pipeline.news import News
from ehrtraj.pipeline.run import run
from ehrtraj.pipeline.shard.run import SHARD_NEED
from ehrtraj.release.detect import which_source
from ehrtraj.results import BuildResult, ExportResult
from ehrtraj.runtime.limits import capped_cpus
from ehrtraj.runtime.progress import Reporter
from ehrtraj.runtime.sizes import DEFAULT, Sizes
from ehrtraj.sources.source import Source, find_source
from ehrtraj.storage.base import Storage
from ehrtraj.storage.local import LocalStorage

if TYPE_CHECKING:
    from ehrtraj.concepts.library import ConceptLibrary
    from ehrtraj.concepts.run import ConceptsResult
    from ehrtraj.dataset.dataset import Dataset
    from ehrtraj.pipeline.plan.preview import BuildPreview

_POSITIONAL = ("data_dir", "output", "trajectory_version")


def _parameters() -> Iterator[Parameter]:
    """Yield the parameter of `build` for each setting."""
    for setting in SETTINGS:
        kind = Parameter.POSITIONAL_OR_KEYWORD if setting.name in _POSITIONAL else Parameter.KEYWORD_ONLY
        yield Parameter(setting.name, kind, default=None, annotation=setting.kind.argument)


@show_parameters(_parameters())
@checked
def build(
    data_dir: str | Path | None = None,
    output: str | Path | None = None,
    trajectory_version: str | None = None,
    *,
    config: str | Path | None = None,
    reporter: Reporter | None = None,
    **settings: object,
) -> BuildResult:
    """Build a dataset of patient trajectories, like `ehrtraj build` on the command line.

    A setting that you do not pass is read from the environment, then from the file, then from the defaults.

    Raises:
        EhrtrajError: if the build fails; the message explains how to fix it. The subclasses distinguish problems with
            settings, input and output.
        TypeError: for an argument that is not a setting.
    """
    setting_names = {setting.name for setting in SETTINGS}
    for name in settings:
        if name not in setting_names:
            raise TypeError(f"build() got an unexpected keyword argument '{name}'")
    given = settings | dict(zip(_POSITIONAL, (data_dir, output, trajectory_version), strict=True))
    for setting in SETTINGS:
        # A text is parsed, as that of an option is.
        check_argument(setting.name, given.get(setting.name), setting.kind.argument | str)
    resolved, origins = resolve(given, Path(config) if config else None)
    return build_with(resolved, reporter or Reporter(), origins)


def build_with(
    settings: Settings,
    reporter: Reporter,
    origins: Mapping[str, str] | None = None,
    *,
    output: Storage | None = None,
    engine: Engine | None = None,
    sizes: Sizes = DEFAULT,
) -> BuildResult:
    """Build a dataset, then write the exports that the settings request.

    Args:
        settings: settings of the build.
        reporter: is notified of progress.
        origins: where each setting came from, as `resolve` returns it.
        output: storage that receives the dataset; the folder `settings.output` by default.
        engine: runs the tasks; the processes of this machine by default.
        sizes: batch sizes.

    Raises:
        EhrtrajError: see `build`.
    """
    cpus, note = capped_cpus(settings.max_cpus)
    settings = replace(settings, max_cpus=cpus)
    news = News(reporter)
    notes, warnings = settings_news(settings, origins or {})
    news.note(*([note] if note else []), *notes)
    news.warn(*warnings)
    try:
        source = which_source(settings.data_dir, settings.source, settings.overlay)
        concepts = _concepts(settings, source)
        job = BuildJob(
            settings,
            source,
            output or LocalStorage(settings.output),
            engine or LocalEngine(cpus, settings.memory_limit),
            reporter,
            news,
            origins or {},
            explain=adding_missing_files_to_errors,
            hints=download_notes,
            sizes=sizes,
        )
        result = run(job)
        if concepts is not None:
            result = replace(result, concepts=_compute(result.path, settings, concepts, reporter))
        if settings.export:
            result = replace(result, exports=_export(result.path, settings, reporter, sizes))
        if settings.report:
            from ehrtraj.reports.run import report_after

            path = report_after(result.path, news.warn, already_there=result.already_there)
            result = replace(result, report=path, warnings=tuple(news.warnings))
        return result
    finally:
        reporter.close()


def plan_with(settings: Settings) -> BuildPreview:
    """Estimate what a build with these settings reads and needs. Nothing is written.

    Raises:
        EhrtrajError: if there is no release, or a setting is invalid; the message explains how to fix it.
    """
    from ehrtraj.pipeline.plan.preview import preview

    source = which_source(settings.data_dir, settings.source, settings.overlay)
    return preview(settings, source, SHARD_NEED, adding_missing_files_to_errors, download_notes)


def _concepts(settings: Settings, source: Source) -> ConceptLibrary | None:
    """Return the concepts of the source if the settings request any of them.

    Raises:
        SettingsError: if a requested concept does not exist.
    """
    if not settings.concepts:
        return None
    from ehrtraj.concepts.library import concept_library

    library = concept_library(source)
    library.find(_names(settings))
    return library


def _names(settings: Settings) -> tuple[str, ...]:
    return () if settings.concepts == ("all",) else settings.concepts


def _compute(path: Path, settings: Settings, library: ConceptLibrary, reporter: Reporter) -> dict[str, int]:
    """Compute the requested concepts of a finished dataset, and return their numbers of rows."""
    from ehrtraj.concepts.index import read_index
    from ehrtraj.concepts.run import compute_concepts as compute
    from ehrtraj.concepts.session import ConceptMode
    from ehrtraj.dataset.layout import find_layout

    reporter.computing()
    layout = find_layout(path)
    limits: dict[str, Any] = {"max_cpus": settings.max_cpus, "memory_limit": settings.memory_limit}
    compute(layout, _names(settings), library=library, progress=reporter.computed, **limits)
    requested = {concept.name for concept in library.find(_names(settings))}
    return {name: one.rows for name, one in read_index(path, ConceptMode()).items() if name in requested}


def _export(path: Path, settings: Settings, reporter: Reporter, sizes: Sizes) -> tuple[ExportResult, ...]:
    """Write the requested exports of a finished dataset."""
    from ehrtraj.exports.after_build import export_after_build

    return export_after_build(
        path,
        settings.export,
        reporter,
        max_cpus=settings.max_cpus,
        overwrite=settings.overwrite,
        sizes=sizes,
    )


@checked
def compute_concepts(
    dataset: str | Path | Dataset,
    names: Texts = (),
    *,
    clock: str = "event",
    as_mimic_code: bool = False,
    overlay: str | Path | None = None,
    max_cpus: int | None = None,
    memory_limit: str | int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> ConceptsResult:
    """Compute clinical concepts for all patients of a dataset and store them in it. The same as `ehrtraj concepts`.

    Args:
        dataset: folder of a dataset, or an open one. Concepts are computed for all its patients.
        names: name or names of concepts; all by default.
        clock: `event` computes from when things happened, `available` from when they became known.
        as_mimic_code: reproduce mimic-code's tables, also where ours differ.
        overlay: folder with custom `concepts/`, which take precedence over those of the source.
        max_cpus: maximum number of CPU cores; all usable cores by default.
        memory_limit: maximum memory of all processes, such as `4GB`, the default.
        overwrite: compute concepts again that are stored already.
        progress: receives the number of events whose concepts are computed, and the number of all events.

    Raises:
        EhrtrajError: if it fails; the message explains what to do.
    """
    from ehrtraj.concepts.library import concept_library
    from ehrtraj.concepts.run import compute_concepts as compute
    from ehrtraj.concepts.session import ConceptMode
    from ehrtraj.dataset.dataset import Dataset
    from ehrtraj.dataset.layout import find_layout

    check_argument("dataset", dataset, str | Path | Dataset)
    layout = dataset.layout if isinstance(dataset, Dataset) else find_layout(dataset)
    release = layout.manifest["release"]
    source = find_source(release.get("source_folder", release["source"]), None if overlay is None else Path(overlay))
    return compute(
        layout,
        listed("names", names),
        mode=ConceptMode(clock, as_mimic_code),
        library=concept_library(source),
        max_cpus=max_cpus,
        memory_limit=memory_limit,
        overwrite=overwrite,
        progress=progress,
    )


def _describe_arguments() -> str:
    helps = {setting.name: setting.help for setting in SETTINGS}
    helps |= {
        "config": "TOML file with settings.",
        "reporter": "Object that is notified of progress; silent by default.",
    }
    lines = (
        textwrap.indent(textwrap.fill(f"{n}: {h}", 112, subsequent_indent="    "), " " * 8) for n, h in helps.items()
    )
    return "\n".join(["Args:", *lines, ""])


if build.__doc__:  # not with python -OO
    build.__doc__ = build.__doc__.replace("Raises:", f"{_describe_arguments()}\n    Raises:")
