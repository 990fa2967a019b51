"""Building a dataset from Python."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from inspect import Parameter
from pathlib import Path

from ehrtraj.config import SETTINGS, resolve
from ehrtraj.declaration import show_parameters
from ehrtraj.pipeline.result import BuildResult
from ehrtraj.pipeline.run import run
from ehrtraj.runtime.progress import Reporter

_BY_POSITION = ("data_dir", "output", "trajectory_version")


def _parameters() -> Iterator[Parameter]:
    """Yield the argument of `build` for each setting."""
    for setting in SETTINGS:
        kind = Parameter.POSITIONAL_OR_KEYWORD if setting.name in _BY_POSITION else Parameter.KEYWORD_ONLY
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
    """Build a dataset of patient trajectories. The same as `ehrtraj build` on the command line.

    A setting that is not given comes from the environment, then from the file, then from the defaults.

    Raises:
        EhrtrajError: with a message that names the way out; its subclasses tell settings, input and output apart.
        TypeError: for an argument that is not a setting.
    """
    known = {setting.name for setting in SETTINGS}
    for name in settings:
        if name not in known:
            raise TypeError(f"build() got an unexpected keyword argument '{name}'")
    by_position = zip(_BY_POSITION, (data_dir, output, trajectory_version), strict=True)
    resolved, origins = resolve(settings | dict(by_position), Path(config) if config else None)
    return run(resolved, reporter or Reporter(), origins)


def _describe_arguments() -> str:
    helps = {setting.name: setting.help for setting in SETTINGS}
    helps |= {"config": "TOML file with settings.", "reporter": "Is notified of progress. Silent by default."}
    lines = (
        textwrap.indent(textwrap.fill(f"{n}: {h}", 112, subsequent_indent="    "), " " * 8) for n, h in helps.items()
    )
    return "\n".join(["Args:", *lines, ""])


if build.__doc__:  # not with python -OO
    build.__doc__ = build.__doc__.replace("Raises:", f"{_describe_arguments()}\n    Raises:")
