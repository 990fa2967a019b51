"""Build a dataset from Python."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from inspect import Parameter
from pathlib import Path

from ehrtraj.config import SETTINGS, Settings, resolve, settings_news
from ehrtraj.declaration import show_parameters
from ehrtraj.download.hint import adding_missing_files_to_errors, download_notes
from ehrtraj.engines.base import Engine
from ehrtraj.engines.local import LocalEngine
from ehrtraj.pipeline.job import BuildJob
from ehrtraj.pipeline.news import News
from ehrtraj.pipeline.run import run
from ehrtraj.release.detect import which_source
from ehrtraj.results import BuildResult
from ehrtraj.runtime.limits import capped_cpus
from ehrtraj.runtime.progress import Reporter
from ehrtraj.runtime.sizes import DEFAULT, Sizes
from ehrtraj.storage.base import Storage
from ehrtraj.storage.local import LocalStorage

_POSITIONAL = ("data_dir", "output", "trajectory_version")


def _parameters() -> Iterator[Parameter]:
    """Yield the parameter of `build` for each setting."""
    for setting in SETTINGS:
        kind = Parameter.POSITIONAL_OR_KEYWORD if setting.name in _POSITIONAL else Parameter.KEYWORD_ONLY
        yield Parameter(setting.name, kind, default=None, annotation=setting.kind.argument)


@show_parameters(_parameters())
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
    positional = zip(_POSITIONAL, (data_dir, output, trajectory_version), strict=True)
    resolved, origins = resolve(settings | dict(positional), Path(config) if config else None)
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
        job = BuildJob(
            settings,
            which_source(settings.data_dir, settings.source, settings.overlay),
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
        if not settings.export:
            return result
        from ehrtraj.exports.after_build import export_after_build

        exports = export_after_build(
            result.path,
            settings.export,
            reporter,
            max_cpus=settings.max_cpus,
            overwrite=settings.overwrite,
            sizes=sizes,
        )
        return replace(result, exports=exports)
    finally:
        reporter.close()


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
