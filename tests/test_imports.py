"""Which package may import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ehrtraj

ROOT = Path(ehrtraj.__file__).parent
COMMAND_LINE = "ehrtraj.cli"


def imported(source: str, package: str) -> Iterator[str]:
    """Every module that a source imports anywhere in it, and every name that it takes from one, in full."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def belongs(name: str) -> bool:
    return name == COMMAND_LINE or name.startswith(f"{COMMAND_LINE}.")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import ehrtraj.cli.show.screen", True),
        ("def f():\n    from ehrtraj.cli.show import bars", True),
        ("from ehrtraj import cli", True),
        ("from ..cli import app", True),
        ("from ehrtraj import client\nimport ehrtraj.client", False),
    ],
)
def test_an_import_of_the_command_line_is_recognised(source: str, found: bool) -> None:
    assert any(map(belongs, imported(source, "ehrtraj.torch"))) is found


def test_only_the_command_line_imports_the_command_line() -> None:
    """A library that prints, or needs a terminal, cannot be used from a notebook or a server."""
    wrong = []
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT)
        if place.parts[0] == "cli" or place == Path("__main__.py"):
            continue
        package = ".".join(["ehrtraj", *place.parent.parts])
        wrong += [f"{place}: {name}" for name in imported(path.read_text("utf-8"), package) if belongs(name)]
    assert wrong == []
