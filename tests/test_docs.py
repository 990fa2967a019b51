"""The documentation: its examples are run, and what a page shows is what comes out.

A page's ```pycon blocks are run in one session, its ```console blocks by the shell, in a folder that holds the dataset
of the hand-made release as trajectories/v1. An example whose output is an error ends with the comment `# error`. To
write the outputs anew after a change: make docs
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import ehrtraj
from ehrtraj.cli import app

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path for path in (*ROOT.glob("*.md"), *sorted(DOCS.rglob("*.md")))}

_BLOCK = re.compile(r"^```(pycon|console)\n(.*?)^```$", re.M | re.S)
_SHELL = re.compile(r"^```(sh|console)\n(.*?)^```$", re.M | re.S)
_STATEMENT = re.compile(r"^>>> .*\n(?:\.\.\. .*\n)*", re.M)
_RAISED = re.compile(r"^(Traceback|error: |[\w.]*Error: )", re.M)
_MARK = "  # error"

RUN = [name for name, path in PAGES.items() if _BLOCK.search(path.read_text(encoding="utf-8"))]


def needs(page: str) -> str | None:
    """The module that a page's examples need and that is not among the dependencies, if it has one."""
    return "torch" if "import torch" in (text := PAGES[page].read_text()) or "from torch" in text else None


def run_statement(source: str, session: dict[str, object]) -> str:
    """What the interpreter prints for a statement."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(source, "<page>", "single"), session)
        except Exception as error:
            return "Traceback (most recent call last):\n    ...\n" + traceback.format_exception_only(error)[-1]
    return printed.getvalue()


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
        # A slow machine shows its progress.
        messages = re.sub(r"^\d\d:\d\d:\d\d [a-z ]+: .*\n", "", done.stderr, flags=re.M)
        printed = re.sub(r"[ \t]+$", "", done.stdout + messages, flags=re.M)
        parts.append(f"$ {command}\n{printed}")
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


def with_a_dataset(handmade: ModuleType, folder: Path) -> Path:
    """The folder, with the hand-made release and its dataset."""
    handmade.write_release(folder / "mimic")
    ehrtraj.build(folder / "mimic", folder / "trajectories", "v1", max_cpus=1)
    return folder


@pytest.fixture(scope="module")
def prepared(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset. Each page has a copy, which its examples may change."""
    return with_a_dataset(handmade, tmp_path_factory.mktemp("prepared"))


@pytest.mark.parametrize("page", RUN)
def test_a_page_shows_what_comes_out(page: str, prepared: Path, tmp_path: Path) -> None:
    if needed := needs(page):
        pytest.importorskip(needed, reason=f"{needed} is in the environment of `make consumers`")
    text = PAGES[page].read_text()
    folder = shutil.copytree(prepared, tmp_path / "folder")
    with contextlib.chdir(folder):
        now = run_page(text)
    assert without_what_differs_each_time(now) == without_what_differs_each_time(text), (
        f"{page} has drifted: `make docs` writes it anew"
    )


def test_the_pages_about_using_a_dataset_are_run() -> None:
    names = {Path(page).stem for page in RUN}
    expected = {
        "python",
        "reading",
        "first-study",
        "cohorts",
        "export",
        "check-and-diff",
        "labels",
        "pytorch",
        "README",
    }
    assert names >= expected


# Fences and errors ---------------------------------------------------------------------------------------------------


def problem_of_fences(text: str) -> str | None:
    """What is wrong with the fences of a page: one without a language, or one that is not closed."""
    opened = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("```"):
            continue
        if not opened and line == "```":
            return f"line {number} begins a block without a language, or ends one that was not begun"
        if opened and line != "```":
            return f"line {number} begins a block, but that of line {opened} is not closed"
        opened = 0 if opened else number
    return f"the block of line {opened} is not closed" if opened else None


def examples(text: str) -> Iterator[tuple[str, str]]:
    """Each example of a page: what is typed, and what comes out."""
    for kind, block in _BLOCK.findall(text):
        begins = re.compile(r"^\$ .*\n", re.M) if kind == "console" else _STATEMENT
        typed = list(begins.finditer(block))
        for this, after in zip(typed, [*typed[1:], None], strict=True):
            yield this[0].rstrip("\n"), block[this.end() : after.start() if after else len(block)]


def problems_of_errors(text: str) -> list[str]:
    """Examples that show an error without being marked, or are marked and show none."""
    return [typed for typed, output in examples(text) if bool(_RAISED.search(output)) != typed.endswith(_MARK)]


@pytest.mark.parametrize("page", PAGES)
def test_fences_are_closed_and_have_a_language(page: str) -> None:
    assert problem_of_fences(PAGES[page].read_text()) is None


@pytest.mark.parametrize("page", PAGES)
def test_an_example_shows_an_error_where_it_is_marked_as_one(page: str) -> None:
    assert problems_of_errors(PAGES[page].read_text()) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```sh\nls\n```\n", None),
        ("```console\n$ ls\n```console\n$ ls\n```\n", "line 3 begins a block, but that of line 1 is not closed"),
        ("```sh\nls\n", "the block of line 1 is not closed"),
        ("ls\n```\n", "line 2 begins a block without a language, or ends one that was not begun"),
    ],
)
def test_a_fence_that_is_missing_is_found(text: str, problem: str | None) -> None:
    assert problem_of_fences(text) == problem


def test_an_error_that_nobody_expects_is_found() -> None:
    raised = "Traceback (most recent call last):\n    ...\nNameError: name 'events' is not defined\n"
    assert problems_of_errors(f"```pycon\n>>> 1\n1\n>>> events\n{raised}```\n") == [">>> events"]
    assert problems_of_errors(f"```pycon\n>>> events  # error\n{raised}```\n") == []
    assert problems_of_errors("```pycon\n>>> 1  # error\n1\n```\n") == [">>> 1  # error"]
    assert problems_of_errors("```console\n$ ehrtraj info x\nerror: no x\n```\n") == ["$ ehrtraj info x"]


# Links and generated pages -------------------------------------------------------------------------------------------

_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([\w./:?=&-]*)(#[\w-]+)?\)")


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", text), re.M)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = PAGES[page]
    for target, anchor in _LINK.findall(re.sub(r"(?ms)^```.*?^```$", "", path.read_text())):
        if "://" in target:
            continue
        linked = (path.parent / target).resolve() if target else path
        assert linked.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors_of(linked.read_text()), f"{target} has no heading {anchor}"


def test_pages_that_the_code_names_exist() -> None:
    files = [path for kind in ("py", "csv", "toml", "sql") for path in (ROOT / "src").rglob(f"*.{kind}")]
    named = {name for path in files for name in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))}
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_page_begins_with_its_title_and_its_purpose() -> None:
    for page, path in PAGES.items():
        title, empty, purpose = path.read_text().splitlines()[:3]
        assert title.startswith("# "), page
        assert not empty, page
        assert purpose, page


GENERATED = ["settings.md", "tables.md", "checks.md", "rules.md", "cli.md", "concepts.md"]
GENERATED += [
    f"concepts-{path.name}.md"
    for path in sorted((ROOT / "src/ehrtraj/concepts").iterdir())
    if path.is_dir() and path.name != "__pycache__"
]
GENERATED += [f"examples-{module}.md" for module in ("ed", "hosp", "icu", "note")]


@pytest.mark.parametrize("page", GENERATED)
def test_a_generated_page_is_that_of_the_code(page: str, generated_pages: ModuleType) -> None:
    text = (DOCS / "reference" / page).read_text(encoding="utf-8")
    assert text == generated_pages.PAGES[page](text), "`make docs` writes it anew"


def test_every_generated_page_is_compared(generated_pages: ModuleType) -> None:
    assert list(generated_pages.PAGES) == GENERATED


# Commands ------------------------------------------------------------------------------------------------------------


def commands_in(lines: str) -> list[list[str]]:
    """The calls of ehrtraj in lines of a shell, as words, without what is around them."""
    found = []
    for line in lines.replace("\\\n", " ").splitlines():
        if "ehrtraj " not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        call: list[str] | None = None
        for word in (*lexer, ";"):
            if set(word) <= set("|&;<>"):
                found += [call] if call else []
                call = None
            elif call is not None:
                call.append(word)
            elif word == "ehrtraj":
                call = []
    return found


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and the words behind its name."""
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"ehrtraj has no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def parse(words: list[str]) -> None:
    """Parse a call as the command line does, without running it."""
    if words[0].startswith("-"):
        return
    command, rest = find_command(words)
    with contextlib.suppress(typer.Exit):
        command.make_context(command.name, rest)


@pytest.mark.parametrize("page", [name for name, path in PAGES.items() if _SHELL.search(path.read_text())])
def test_commands_of_a_page_can_be_parsed(page: str) -> None:
    for kind, block in _SHELL.findall(PAGES[page].read_text()):
        typed = "\n".join(re.findall(r"^\$ (.*)$", block, re.M)) if kind == "console" else block
        for words in commands_in(typed):
            parse(words)


@pytest.mark.parametrize("page", PAGES)
def test_commands_within_sentences_have_options_that_exist(page: str) -> None:
    for text in re.findall(r"(?<!`)`ehrtraj ([a-z][^`]*)`(?!`)", PAGES[page].read_text()):
        name, *rest = re.findall(r"[^\s|]+", text)
        command, rest = find_command([name, *rest])
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in rest if word.startswith("-")} <= {*options, "--help"}, text


def commands_with_help() -> Iterator[tuple[str, str]]:
    """The name and the --help text of each command."""
    waiting = [("ehrtraj", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop(0)
        yield name, command.help or ""
        waiting += [(f"{name} {key}", value) for key, value in getattr(command, "commands", {}).items()]


@pytest.mark.parametrize(("name", "text"), list(commands_with_help()), ids=lambda value: value.partition("\n")[0])
def test_examples_of_help_can_be_parsed(name: str, text: str) -> None:
    shown = re.findall(r"^ +((?:[A-Z_]+=\S+ )*ehrtraj .*|Examples: .*)$|^(Examples: .*)$", text, re.M)
    calls = [words for found in shown for words in commands_in("".join(found).removeprefix("Examples: "))]
    assert calls or "xample" not in text
    for words in calls:
        parse(words)


def test_a_command_that_cannot_be_parsed_is_found() -> None:
    (words,) = commands_in("MAX_CPUS=2 ehrtraj build mimic -t v1 --fast | tail  # quickly")
    assert words == ["build", "mimic", "-t", "v1", "--fast"]
    with pytest.raises(Exception, match="No such option: --fast"):
        parse(words)
    with pytest.raises(AssertionError, match="no command biuld"):
        parse(["biuld"])


def main() -> None:
    spec = importlib.util.spec_from_file_location("handmade_release", ROOT / "examples" / "handmade_release.py")
    handmade = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = handmade
    spec.loader.exec_module(handmade)
    given = [path.resolve() for path in map(Path, sys.argv[1:])]
    for page in RUN:
        path, needed = PAGES[page], needs(page)
        if given and path not in given:
            continue
        if needed and not importlib.util.find_spec(needed):
            continue
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(with_a_dataset(handmade, Path(folder))):
            text = path.read_text()
            now = run_page(text)
        if without_what_differs_each_time(now) != without_what_differs_each_time(text):
            path.write_text(now)


if __name__ == "__main__":
    main()
