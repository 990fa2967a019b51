"""`ehrtraj build`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehrtraj.cli.application import Command, graceful_stop
from ehrtraj.cli.show.screen import detail, is_verbose
from ehrtraj.errors import SettingsError

if TYPE_CHECKING:
    from ehrtraj.config import Settings
    from ehrtraj.declaration import Setting

_BUILD_HELP = """Build a dataset of patient trajectories from a release of MIMIC-IV.

[bold]Examples[/bold]

  ehrtraj build physionet.org/files/mimiciv/3.1 --output trajectories --trajectory-version v1

  ehrtraj build mimic-iv --trajectory-version icu100 --icu-only --subjects 100

  ehrtraj build mimic-iv --trajectory-version labs --tables labevents,diagnoses_icd

  ehrtraj build mimic-iv -t linked --gem gems --concept-maps mimic-code --vocabulary athena

  DATA_DIR=mimic-iv TRAJECTORY_VERSION=v1 MAX_CPUS=8 ehrtraj build --memory-limit 8GB

  ehrtraj build physionet.org --trajectory-version all --notes separate

  ehrtraj build mimiciv/3.1 --ed mimic-iv-ed/2.2 --note mimic-iv-note/2.2 --trajectory-version all

  ehrtraj build mimic-iv --trajectory-version v1 --export patient:jsonl

  ehrtraj build mimic-iv --trajectory-version v1 --concepts sofa,sepsis3

  ehrtraj build --config settings.toml --show-config

You can also set every setting in the environment (EHRTRAJ_OUTPUT, EHRTRAJ_MEMORY_LIMIT, ...) or in a TOML file
(data_dir = "...", max_cpus = 8, ...). DATA_DIR, TRAJECTORY_VERSION and MAX_CPUS also work without the prefix. The
command line takes precedence over the environment, and the environment over the file. The build reports the settings
that it read from either.

An interrupted build resumes when you run the same command again.

[bold]Exit codes[/bold]: 0 done, or the dataset already exists; 2 invalid setting; 3 invalid input; 4 the output cannot
be written; 5 invalid recipe or rule; 6 the ledger does not balance; 130 Ctrl-C.
"""


def _argument(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def parameter_of(setting: Setting) -> Parameter:
    """Return the parameter of the command line for a setting."""
    declared = setting.declared
    if declared.positional:
        default = typer.Argument(None, help=setting.help, show_default=False)
    else:
        names = [declared.switch or setting.option, *filter(None, [declared.short])]
        default = typer.Option(None, *names, help=setting.help, show_default=False)
    return Parameter(setting.name, Parameter.KEYWORD_ONLY, default=default, annotation=setting.kind.option | None)


def _parameters() -> Iterator[Parameter]:
    """Yield the parameter of the command line for each setting."""
    from ehrtraj.config import SETTINGS

    for setting in SETTINGS:
        yield parameter_of(setting)
        if setting.declared.shorthand:
            option, value = setting.declared.shorthand
            default = typer.Option(False, option, help=f"The same as {setting.option} {value}.")
            yield Parameter(_argument(option), Parameter.KEYWORD_ONLY, default=default, annotation=bool)


def build(
    *,
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="TOML file with settings.")] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print every setting with its origin, and exit.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Print the CPU time of each step and table at the end.")
    ] = False,
    **given: object,
) -> None:
    """Build a dataset of patient trajectories."""
    from ehrtraj.api import build_with
    from ehrtraj.cli.show.build import ConsoleReporter, show_result, show_warnings
    from ehrtraj.cli.show.export import show_export
    from ehrtraj.cli.show.profile import show_profile
    from ehrtraj.config import resolve, spell
    from ehrtraj.runtime.sizes import DEFAULT

    settings, origins = resolve(_without_shorthands(given), config)
    if show_config:
        _print_settings(settings, origins)
        return
    for name, origin in origins.items():
        detail(f"setting {name}: {spell(getattr(settings, name))} ({origin})")
    with graceful_stop(
        ". Finished work is kept: run the same command again to resume (its folder is .<version>.build in the output)"
    ):
        result = build_with(settings, ConsoleReporter(), origins, sizes=context.obj or DEFAULT)
    show_result(result)
    if profile or is_verbose():
        show_profile(result.cpu)
    if result.concepts:
        from ehrtraj.cli.show.concepts import show_rows_of_concepts

        show_rows_of_concepts(result)
    for export_result in result.exports:
        show_export(export_result)
    # Print warnings last, where the user sees them.
    show_warnings(result)


def _without_shorthands(given: Mapping[str, object]) -> dict[str, object]:
    """Return the settings, with shorthand options such as --no-notes replaced by the value that they stand for."""
    from ehrtraj.config import SETTINGS

    settings = dict(given)
    for setting in SETTINGS:
        if setting.declared.shorthand is None:
            continue
        option, value = setting.declared.shorthand
        if settings.pop(_argument(option)):
            if settings[setting.name] not in (None, value):
                raise SettingsError(
                    f"{option} and {setting.option} {settings[setting.name]} contradict each other: use only one of "
                    "them"
                )
            settings[setting.name] = value
    return settings


def _print_settings(settings: Settings, origins: Mapping[str, str]) -> None:
    from ehrtraj.cli.show.settings import show_settings
    from ehrtraj.config import spell

    show_settings((name, spell(getattr(settings, name)), origin) for name, origin in origins.items())


COMMAND = Command(build, place=10, writes=True, help=_BUILD_HELP, parameters=_parameters, long=True)
