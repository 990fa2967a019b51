"""All commands, found by their files in `commands/`."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module

import typer

from ehrtraj.cli import commands
from ehrtraj.cli.application import HELP_OPTIONS, Command, new_application


def _names() -> list[str]:
    return sorted({module.name for module in pkgutil.iter_modules(commands.__path__)})


def _load(name: str) -> Command:
    command: Command = import_module(f"{commands.__name__}.{name}").COMMAND
    return command


def all_commands() -> dict[str, Command]:
    """Return the commands by name, in the order in which --help lists them."""
    found = {name: _load(name) for name in _names()}
    return dict(sorted(found.items(), key=lambda pair: pair[1].place))


def application(arguments: Sequence[str] | None = None) -> typer.Typer:
    """Return the application with its commands.

    Args:
        arguments: of the command line. The application has only what they need, which takes less time: the command that
            they name, or the list of all commands for --help. By default, all commands are complete.
    """
    made = new_application()
    if arguments and arguments[0] in _names():
        _load(arguments[0]).add_to(made, arguments[0])
        return made
    lists = arguments is not None and (not arguments or arguments[0] in HELP_OPTIONS)
    for name, command in all_commands().items():
        if lists:
            command.list_in(made, name)
        else:
            command.add_to(made, name)
    return made
