"""Each command is one file, which the rest of the program discovers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOY = '''
"""`ehrtraj wave`."""

from typing import Annotated

import typer

from ehrtraj.cli.application import Command
from ehrtraj.cli.show.screen import write_lines


def greet(name: Annotated[str, typer.Argument(help="Name of a person.")]) -> None:
    """This docstring is not shown, because the command declares its help."""
    write_lines([f"hello {name}"])


COMMAND = Command(greet, place=45, writes=False, help="Wave at someone.")
'''
WITH_TOY = """
import sys
from ehrtraj.cli import commands
commands.__path__.append(sys.argv.pop(1))
from ehrtraj.cli import main
main()
"""


def with_toy(folder: Path, source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    (folder / "wave.py").write_text(source)
    command = [sys.executable, "-c", WITH_TOY, str(folder), *arguments]
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_a_new_command_is_listed_at_its_position_and_runs(tmp_path: Path) -> None:
    listed = with_toy(tmp_path / "commands", TOY, "--help").stdout
    names = re.findall(r"^  (\w+) ", listed.partition("Commands\n")[2], re.M)
    at = names.index("wave")
    assert names[at - 1 : at + 2] == ["show", "wave", "codes"]
    ran = with_toy(tmp_path / "commands", TOY, "wave", "you")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "hello you\n", "")
    assert "Wave at someone." in with_toy(tmp_path / "commands", TOY, "wave", "--help").stdout


@pytest.mark.parametrize(
    ("removed", "reported"), [(", writes=False", "'writes'"), (", place=45", "'place'"), ("COMMAND = ", "'COMMAND'")]
)
def test_an_incomplete_declaration_of_a_command_fails(tmp_path: Path, removed: str, reported: str) -> None:
    ran = with_toy(tmp_path / "commands", TOY.replace(removed, ""), "--help")
    assert ran.returncode == 1
    assert reported in ran.stderr.splitlines()[-1]
