"""Output of `--help`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ehrtraj.cli.show.screen import Screen, line, out
from ehrtraj.cli.show.table import Column, Table

_LEAST = 44
"""Columns for what a parameter means. Longer names of parameters get a line of their own."""


@dataclass(frozen=True)
class ParameterHelp:
    """An argument, an option or a command in a list.

    Attributes:
        names: the name, or all names of an option with its value.
        meaning: what it means.
    """

    names: str
    meaning: str


@dataclass(frozen=True)
class CommandHelp:
    """The help of a command.

    Attributes:
        usage: the command with its arguments.
        text: paragraphs, in which `[bold]` marks the headings. Indented lines are commands.
        arguments: its arguments.
        options: its options.
        commands: its commands, if it is a group.
    """

    usage: str
    text: str
    arguments: Sequence[ParameterHelp]
    options: Sequence[ParameterHelp]
    commands: Sequence[ParameterHelp]


def show_help(shown: CommandHelp) -> None:
    """Print the help of a command to stdout."""
    screen = out()
    screen.print(line(("Usage: ", "bold"), shown.usage))
    for paragraph in re.split(r"\n\s*\n", shown.text.strip()):
        screen.print()
        if paragraph.startswith(" "):
            for command in paragraph.splitlines():
                screen.print_command(command)
        else:
            screen.print(line(*_styled(" ".join(paragraph.split()))))
    for title, entries in (
        ("Arguments", shown.arguments),
        ("Options", shown.options),
        ("Commands", shown.commands),
    ):
        if entries:
            screen.print()
            screen.print(line((title, "bold")))
            _show_entries(screen, entries)


def _show_entries(screen: Screen, entries: Sequence[ParameterHelp]) -> None:
    table = Table(Column(hangs=True), Column(folds=True, least=_LEAST))
    for entry in entries:
        table.add((f"  {entry.names}", "cyan"), " ".join(entry.meaning.split()))
    screen.print(table)


def _styled(text: str) -> list[tuple[str, str]]:
    """Return the parts of a text with their styles."""
    parts = re.split(r"\[/?bold\]", text)
    return [(part, "bold" if number % 2 else "") for number, part in enumerate(parts)]
