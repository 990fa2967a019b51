"""Commands with our own help: names for values that a reader understands, and no line that is cut or broken.

The version of typer decides which library defines contexts and parameters, so their classes cannot be imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from ehrtraj.cli.show.help import CommandHelp, ParameterHelp, show_help

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Names of the values of options. All other options have the last word of their own name, such as SPLIT.
_METAVARS = {
    "PATH": "concept_maps config ed gem note output overlay to vocabulary",
    "N": "connections limit max_cpus patients port retries seed",
    "NAME": "explain trajectory_version user",
    "NAMES": "concepts tables",
    "PATTERN": "code",
    "SECONDS": "timeout",
    "SHARE": "defects",
    "SIZE": "memory_limit",
    "TIME": "as_of begin end time",
    "UNIT": "per",
}
_METAVAR_OF = {name: metavar for metavar, names in _METAVARS.items() for name in names.split()}


class _WithHelp:
    """What a command and a group of commands have in common."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # typer's own
        super().__init__(*arguments, **options)
        for parameter in self.params:  # type: ignore[attr-defined]  # of typer's class
            if parameter.metavar is None and not getattr(parameter, "is_flag", False):
                parameter.metavar = _metavar(parameter)

    def format_help(self, context: Any, formatter: Any) -> None:  # noqa: ANN401  # typer's own
        """Print the help."""
        arguments = [_argument(one) for one in self.params if one.param_type_name == "argument"]  # type: ignore[attr-defined]
        commands = getattr(self, "commands", {})
        usage = [context.command_path, "[OPTIONS]", *(argument.names for argument in arguments)]
        options = [_option(one) for one in self.get_params(context) if one.param_type_name == "option"]  # type: ignore[attr-defined]
        show_help(
            CommandHelp(
                " ".join([*usage, "COMMAND ..."] if commands else usage),
                self.help or "",  # type: ignore[attr-defined]
                arguments,
                options,
                [ParameterHelp(name, (command.help or "").partition("\n\n")[0]) for name, command in commands.items()],
            )
        )


class HelpCommand(_WithHelp, TyperCommand):
    """A command with our own help."""


class HelpGroup(_WithHelp, TyperGroup):
    """A group of commands with our own help."""


class Application(typer.Typer):
    """An application whose commands have our own help."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # typer's own
        super().__init__(cls=HelpGroup, rich_markup_mode=None, pretty_exceptions_enable=False, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[_Function], _Function]:  # noqa: ANN401  # typer's own
        """Return a decorator that adds a command."""
        return super().command(name, cls=HelpCommand, **options)


def _metavar(parameter: Any) -> str:  # noqa: ANN401  # see above
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    return _METAVAR_OF.get(parameter.name) or str(parameter.name).rpartition("_")[2].upper()


def _argument(parameter: Any) -> ParameterHelp:  # noqa: ANN401  # see above
    name = parameter.metavar
    is_optional = not parameter.required and not name.startswith("[")
    return ParameterHelp(f"[{name}]" if is_optional else name, parameter.help or "")


def _option(parameter: Any) -> ParameterHelp:  # noqa: ANN401  # see above
    names = ", ".join(sorted([*parameter.opts, *parameter.secondary_opts], key=lambda name: name.startswith("--")))
    value = "" if getattr(parameter, "is_flag", False) else f" {parameter.metavar}"
    return ParameterHelp(f"{names}{value}", f"{parameter.help or ''}{_default(parameter)}")


def _default(parameter: Any) -> str:  # noqa: ANN401  # see above
    """Return the default of an option in parentheses, unless the help explains it or there is none."""
    default = parameter.default
    is_shown = default is not None and not isinstance(default, bool) and parameter.show_default
    return f" (default {default})" if is_shown and not callable(default) and "(default" not in parameter.help else ""
