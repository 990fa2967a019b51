"""Rules about imports between packages."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ehrtraj

ROOT = Path(ehrtraj.__file__).parent
COMMAND_LINE = "ehrtraj.cli"


def imported(source: str, package: str) -> Iterator[str]:
    """Return the full names of all modules that source code imports, and of all names that it imports from them."""
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


# Layers from the lowest to the highest. A module may import its own package and packages of lower layers.
LAYERS = (
    ("errors", "version", "interrupt", "suggestions", "readable"),
    ("arguments", "notebook", "user_files"),
    ("files", "paths", "declaration"),
    ("storage", "runtime"),
    ("format", "engines"),
    ("rules", "recipes", "release.history", "release.asked"),
    ("release.schema", "release.custom_tables"),
    ("sources",),
    ("release",),
    ("results",),
    ("concepts",),
    ("timeline",),
    (
        "dataset.columns",
        "dataset.layout",
        "dataset.reading",
        "dataset.concepts",
        "dataset.trajectory",
        "dataset.query",
        "dataset.intervals",
    ),
    ("cohorts",),
    ("dataset", "notes"),
    ("checks", "diffs", "enrich", "exports", "labels", "torch", "download", "synth"),
    ("reports", "view"),
    ("config",),
    ("pipeline",),
    ("api",),
    ("cli",),
    ("__main__",),
)
PLACE = {name: number for number, names in enumerate(LAYERS) for name in names}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
    if path != ROOT / "__init__.py"
}


def layer(module: str) -> str:
    """Return the entry of `LAYERS` that a module belongs to: the longest entry that its name begins with."""
    fits = [name for name in PLACE if f"{module}.".startswith(f"{name}.")]
    return max(fits, key=len, default="")


def modules_imported(module: str) -> set[str]:
    """Return the modules of ehrtraj that a module imports, without `ehrtraj.`; the root re-exports the public names."""
    path = MODULES[module]
    package = ".".join(["ehrtraj", *path.relative_to(ROOT).parent.parts])
    names = [n.removeprefix("ehrtraj.") for n in imported(path.read_text("utf-8"), package) if n.startswith("ehrtraj.")]
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} - {""}


def test_every_module_has_a_layer() -> None:
    assert sorted(module for module in MODULES if not layer(module)) == []


def test_imports_go_from_higher_layers_to_lower_ones() -> None:
    wrong = []
    for module in MODULES:
        for other in modules_imported(module):
            ours, theirs = layer(module), layer(other)
            same = ours.partition(".")[0] == theirs.partition(".")[0]
            if not same and PLACE[theirs] >= PLACE[ours]:
                wrong.append(f"{module} imports {other}")
    assert wrong == []


def test_there_are_no_import_cycles() -> None:
    left = {module: modules_imported(module) - {module} for module in MODULES}
    while ready := [module for module, needs in left.items() if not needs & set(left)]:
        for module in ready:
            del left[module]
    assert left == {}


def test_a_build_does_not_import_polars() -> None:
    """Every build, and every worker of it, would start 0.1 s later."""
    script = "import sys, ehrtraj.api, ehrtraj.pipeline.shard.task; assert 'polars' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
