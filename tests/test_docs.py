"""The examples of the documentation, run: what a page shows is what comes out.

A page's ```pycon blocks are run in one session, its ```console blocks by the shell, in a folder that holds the dataset
of the hand-made release as trajectories/v1. To write the pages anew after a change, and the tables that commands make
of recipes and rules: make docs
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import ehrtraj
from ehrtraj.recipes import coverage
from ehrtraj.rules import listing
from ehrtraj.sources.source import packaged

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("dataset.md", "export.md", "check.md", "learning.md", "torch.md")
NEEDS = {"torch.md": "torch"}

_BLOCK = re.compile(r"^```(pycon|console)\n(.*?)^```", re.M | re.S)
_COVERAGE = re.compile(r"^\| table \| since \|.*\n(?:\|.*\n)*", re.M)
_STATEMENT = re.compile(r"^>>> .*\n(?:\.\.\. .*\n)*", re.M)


def run_statement(source: str, session: dict[str, object]) -> str:
    """What the interpreter prints for a statement."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            exec(compile(source, "<page>", "single"), session)
        except Exception as error:
            return "Traceback (most recent call last):\n    ...\n" + traceback.format_exception_only(error)[-1]
    return said.getvalue()


def run_pycon(block: str, session: dict[str, object]) -> str:
    parts = []
    for statement in _STATEMENT.findall(block):
        source = "".join(line[4:] for line in statement.splitlines(keepends=True))
        parts += [statement, re.sub(r"(?m)^$(?=\n)", "<BLANKLINE>", run_statement(source, session))]
    return "".join(parts)


def run_console(block: str) -> str:
    parts = []
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in re.findall(r"^\$ (.*)$", block, re.M):
        # As its reader has it, without the settings of the tests.
        environment = os.environ | {"PATH": path, "EHRTRAJ_STANDARDISE": ""}
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, env=environment)
        said = re.sub(r"[ \t]+$", "", done.stdout + done.stderr, flags=re.M)
        parts.append(f"$ {command}\n{said}")
    return "".join(parts)


def run_page(text: str) -> str:
    """The page with the outputs of its examples as they are now."""
    session: dict[str, object] = {}

    def again(block: re.Match[str]) -> str:
        ran = run_pycon(block[2], session) if block[1] == "pycon" else run_console(block[2])
        return f"```{block[1]}\n{ran}```"

    return _BLOCK.sub(again, text)


def without_what_differs_each_time(text: str) -> str:
    """Dates of building, times that things took, memory, sizes, and white space that nobody sees."""
    text = re.sub(r"(?m)[ \t]+$", "", text)
    text = re.sub(r"(?m) on \d{4}-\d\d-\d\d, [\d.]+ .?B$", " on a day", text)
    return re.sub(r"\b[\d.,]+ (s|[kMG]?B|bytes)\b", r"some \1", text)


@contextlib.contextmanager
def in_a_folder_with_a_dataset(handmade: ModuleType, folder: Path) -> Iterator[None]:
    handmade.write_release(folder / "mimic")
    ehrtraj.build(folder / "mimic", folder / "trajectories", "v1", max_cpus=1, standardise=True)
    with contextlib.chdir(folder):
        yield


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_comes_out(page: str, handmade: ModuleType, tmp_path: Path) -> None:
    if page in NEEDS:
        pytest.importorskip(NEEDS[page], reason=f"{NEEDS[page]} is in the environment of `make consumers`")
    text = (DOCS / page).read_text()
    assert len(_BLOCK.findall(text)) > 5
    with in_a_folder_with_a_dataset(handmade, tmp_path):
        now = run_page(text)
    assert without_what_differs_each_time(now) == without_what_differs_each_time(text), (
        f"docs/{page} has drifted: `make docs` writes it anew"
    )


def main() -> None:
    spec = importlib.util.spec_from_file_location("handmade_release", DOCS.parent / "examples" / "handmade_release.py")
    handmade = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = handmade
    spec.loader.exec_module(handmade)
    with tempfile.TemporaryDirectory() as folder, in_a_folder_with_a_dataset(handmade, Path(folder)):
        runs_here = [page for page in PAGES if page not in NEEDS or importlib.util.find_spec(NEEDS[page])]
        for page in sys.argv[1:] or runs_here:
            (DOCS / page).write_text(run_page((DOCS / page).read_text()))
    if not sys.argv[1:]:
        write_tables()


def write_tables() -> None:
    """Write what `ehrtraj rules docs` and `ehrtraj tables --markdown` make to where the tests look for it."""
    mimic, readme = packaged("mimiciv"), DOCS.parent / "README.md"
    (DOCS / "rules.md").write_text(listing.as_markdown(mimic.rules, mimic.name))
    text, found = _COVERAGE.subn(lambda _: coverage.as_markdown(mimic), readme.read_text())
    assert found == 1
    readme.write_text(text)


if __name__ == "__main__":
    main()
