"""All commands, found by their files in `commands/`. Importing this module adds them to `app`."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from ehrtraj.cli import commands
from ehrtraj.cli.application import Command, app

__all__ = ["COMMANDS", "app"]


def _find() -> dict[str, Command]:
    """Return the commands by name, in the order in which --help lists them."""
    names = sorted({module.name for module in pkgutil.iter_modules(commands.__path__)})
    found: dict[str, Command] = {name: import_module(f"{commands.__name__}.{name}").COMMAND for name in names}
    return dict(sorted(found.items(), key=lambda pair: pair[1].place))


COMMANDS = _find()
for _name, _command in COMMANDS.items():
    _command.add_to(app, _name)
