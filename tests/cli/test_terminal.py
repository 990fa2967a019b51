"""What reaches a terminal: nothing from data that it would obey or hide, in any encoding."""

from __future__ import annotations

import ast
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
import typer.main

import ehrtraj
from ehrtraj import interrupt
from ehrtraj.cli import app, run
from ehrtraj.cli.show import screen
from ehrtraj.cli.show.escape import encodable, visible

SOURCE = Path(ehrtraj.__file__).parent
ENCODINGS = ("utf-8", "latin-1", "ascii")

# A title for the window, an erased screen, a C1 control, overrides of the direction, what has no width, ends of lines
# of other kinds, rich's markup, and characters that consoles lack.
HOSTILE = (
    "a\x1b[31m\x1b]0;owned\x07\x1b[2J\x9b2J\u202eb\u2066\u200f\u061c\u200b\ufeff\u2028\u2029\x7f\x08[bold]c[/x]"
    "\N{GREEK SMALL LETTER MU}\u2265\xe9"
)
NAME = HOSTILE.replace("/", "|") + "\nerror: forged"
"""For files and folders, whose names cannot have a slash but can have a line end."""
ESCAPED = r"a\x1b[31m\x1b]0;owned\x07\x1b[2J\x9b2J\u202eb\u2066\u200f\u061c\u200b\ufeff\u2028\u2029\x7f\x08[bold]c[/x]"

# A predicate that names no code is noted.
TASK = 'description: "{0}"\npredicates:\n  "x": {{ code: "{0}" }}'

# Texts that are read as they are, by table.
PLANTED = {
    "hosp/admissions": ("insurance", "race"),
    "hosp/d_labitems": ("label",),
    "icu/d_items": ("label",),
    "hosp/labevents": ("valueuom", "comments"),
    "hosp/prescriptions": ("drug",),
    "hosp/d_icd_diagnoses": ("long_title",),
    "hosp/poe_detail": ("field_value",),
    "note/radiology": ("text",),
}


@dataclass
class Said:
    code: int
    out: bytes
    err: bytes


@dataclass
class World:
    """Where everything is that the commands are run over."""

    root: Path
    release: Path
    dataset: Path
    damaged: Path
    subject: int
    other: Path


@pytest.fixture(scope="module")
def world(handmade: ModuleType, built: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("terminal") / NAME
    release = root / "mimiciv" / "3.1"
    tables = handmade.release_rows()
    for name, columns in PLANTED.items():
        tables[name] = [
            row | {column: f"{row[column]}{HOSTILE}" for column in columns if row.get(column)} for row in tables[name]
        ]
    handmade.write_tables(release, tables, plain=True)
    stays = release / "icu" / "icustays.csv"
    head, *rows = stays.read_text().splitlines()
    stays.write_text("\n".join([f'{head},"{HOSTILE}"', *(f"{row},1" for row in rows)]) + "\n")
    (release / "hosp" / f"{NAME}.csv").write_text("x\n1\n")
    (release / "SHA256SUMS.txt").write_text(f"{'0' * 64} hosp/x\x1b]0;owned\x07\x9b\u202e.csv\n")
    dataset = ehrtraj.build(release, root, "v1", max_cpus=1, standardise=True).path
    damaged = Path(shutil.copytree(dataset, root / "v2"))
    codes = damaged / "metadata" / "codes.parquet"
    pl.read_parquet(codes, glob=False).filter(~pl.col("code").str.contains("owned")).write_parquet(codes)
    task = (SOURCE / "sources" / "mimiciv" / "tasks" / "in_hospital_mortality.yaml").read_text()
    quoted = json.dumps(HOSTILE)[1:-1].replace("/", r"\/")
    (root / "task.yaml").write_text(
        re.sub("description: .*?predicates:", TASK.format(quoted).replace("\\", r"\\"), task, flags=re.S)
    )
    return World(root, release, dataset, damaged, handmade.SEPSIS, built)


Arguments = list[object]
Invocations = list[tuple[int, Callable[[World], Arguments]]]

# Each command with arguments that make it print what comes from data or from names of files, and its exit code.
COMMANDS: dict[str, Invocations] = {
    "build": [
        (
            0,
            lambda w: [
                "build",
                w.release,
                "-o",
                w.root / "again",
                "-t",
                "v1",
                "--max-cpus",
                1,
                "--tables",
                "admissions",
                "--overwrite",
            ],
        ),
        (0, lambda w: ["build", w.release, "-o", w.root, "-t", "v1", "--max-cpus", 1, "--standardise"]),
        (0, lambda w: ["build", w.release, "-o", w.root, "-t", "v1", "--show-config"]),
        (2, lambda w: ["build", w.release, "-o", w.root, "-t", HOSTILE]),
        (2, lambda w: ["build", w.release, "-o", w.root, "-t", "v1", "--tables", HOSTILE]),
        (2, lambda w: ["build", w.release, "-t", "v1", "--config", w.root / "nowhere.toml"]),
        (3, lambda w: ["build", w.root / "nowhere", "-t", "v1"]),
    ],
    "check": [
        (0, lambda w: ["check", w.dataset, "--max-cpus", 1]),
        (1, lambda w: ["check", w.damaged, "--max-cpus", 1]),
        (1, lambda w: ["check", w.damaged, "--max-cpus", 1, "--json"]),
        (7, lambda w: ["check", w.root / "nowhere"]),
    ],
    "codes": [
        (0, lambda w: ["codes", w.dataset, "--limit", 500]),
        (7, lambda w: ["codes", w.dataset, HOSTILE + "?"]),
    ],
    "demo": [(4, lambda w: ["demo", w.dataset / "manifest.json"])],
    "diff": [
        (1, lambda w: ["diff", w.dataset, w.other, "--max-cpus", 1]),
        (1, lambda w: ["diff", w.dataset, w.other, "--max-cpus", 1, "--json"]),
    ],
    "download": [(2, lambda w: ["download", HOSTILE]), (2, lambda w: ["download"])],
    "explain": [
        (0, lambda w: ["explain", w.dataset, w.subject, "--limit", 9]),
        (0, lambda w: ["explain", w.dataset, w.subject, "--code", "RACE//*"]),
        (
            0,
            lambda w: ["explain", w.dataset, w.subject, "--code", "RADIOLOGY_NOTE//*", "--release", w.root / "nowhere"],
        ),
    ],
    "export": [
        (0, lambda w: ["export", w.dataset, "-o", w.root / "files", "--overwrite", "--max-cpus", 1]),
        (4, lambda w: ["export", w.dataset, "-o", w.release, "--max-cpus", 1]),
    ],
    "info": [(0, lambda w: ["info", w.dataset]), (0, lambda w: ["info", w.dataset, "--json"])],
    "label": [
        (0, lambda w: ["label", w.dataset, w.root / "task.yaml", "-o", w.root / "l.parquet", "--overwrite"]),
        (2, lambda w: ["label", w.dataset, HOSTILE]),
        (4, lambda w: ["label", w.dataset, "in_hospital_mortality", "-o", w.dataset]),
    ],
    "rules applied": [(0, lambda w: ["rules", "applied", w.dataset, "--limit", 500])],
    "rules docs": [(2, lambda w: ["rules", "docs", "--overlay", w.root / "nowhere"])],
    "rules explain": [(2, lambda w: ["rules", "explain", HOSTILE]), (0, lambda w: ["rules", "explain", "50912"])],
    "rules list": [(0, lambda w: ["rules", "list"])],
    "show": [
        (0, lambda w: ["show", w.dataset, w.subject, "--attributes"]),
        (2, lambda w: ["show", w.dataset, HOSTILE]),
        (7, lambda w: ["show", w.root, 1]),
    ],
    "synth": [(4, lambda w: ["synth", w.root]), (2, lambda w: ["synth", w.root / "x", "--release", HOSTILE])],
    "tables": [(0, lambda w: ["tables"]), (2, lambda w: ["tables", "--overlay", w.root / "nowhere"])],
    "tasks": [(0, lambda w: ["tasks"]), (2, lambda w: ["tasks", HOSTILE])],
    "verify": [(3, lambda w: ["verify", w.release])],
}

EVERY = [(name, number) for name, invocations in COMMANDS.items() for number in range(len(invocations))]

# What these print must show the planted text in its visible form: else nothing was tried.
SHOW_DATA = ("check 1", "codes 0", "diff 0", "explain 0", "explain 1", "info 0", "rules applied 0", "show 0")


def names_of(command: Any, above: str = "") -> Iterator[str]:
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from names_of(inner, f"{name} ")
        else:
            yield f"{above}{name}"


def test_every_command_is_tried() -> None:
    assert set(COMMANDS) == set(names_of(typer.main.get_command(app)))


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Function that runs a command in this process, over streams of an encoding."""

    def cli(*arguments: object, encoding: str) -> Said:
        out, err = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["ehrtraj", *map(str, arguments)])
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding, write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding, write_through=True))
            patch.setattr(interrupt, "silence", lambda: None)
            with pytest.raises(SystemExit) as ended:
                run.run()
            sys.stdout.flush()
            return Said(int(str(ended.value.code)), out.getvalue(), err.getvalue())

    return cli


def unsafe(text: str) -> set[str]:
    """Characters of a text that a terminal obeys, or that nobody sees."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n"}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("name", "number"), EVERY, ids=lambda value: str(value))
def test_nothing_from_data_acts_on_the_terminal(
    world: World, run_cli: Callable[..., Said], name: str, number: int, encoding: str
) -> None:
    code, arguments = COMMANDS[name][number]
    said = run_cli(*arguments(world), encoding=encoding)
    out, err = said.out.decode(encoding), said.err.decode(encoding)
    assert said.code == code, out + err
    assert unsafe(out + err) == set()
    assert "Traceback" not in err
    assert not re.search("^error: forged", out + err, re.M), "a file's name passes for a message"
    if f"{name} {number}" in SHOW_DATA:
        # Tables break long texts.
        assert ESCAPED in re.sub(r"\s", "", out).replace("[/|", "[/") or r"\x1b[31m" in out, out


def test_all_of_the_planted_text_is_shown(world: World, run_cli: Callable[..., Said]) -> None:
    out = run_cli("show", world.dataset, world.subject, encoding="utf-8").out.decode()
    assert ESCAPED + "μ≥é" in out
    assert ESCAPED + r"\u03bc\u2265é" in run_cli("show", world.dataset, world.subject, encoding="latin-1").out.decode(
        "latin-1"
    )
    assert ESCAPED + r"\u03bc\u2265\xe9" in run_cli("show", world.dataset, world.subject, encoding="ascii").out.decode(
        "ascii"
    )


@pytest.mark.parametrize("name", SHOW_DATA)
def test_in_colour_there_is_nothing_but_our_colours(
    world: World, run_cli: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PAGER", "no-such-pager")
    command, _, number = name.rpartition(" ")
    said = run_cli(*COMMANDS[command][int(number)][1](world), encoding="utf-8")
    text = (said.out + said.err).decode()
    assert "\x1b[" in text
    # Colours, and what a line that says what is being done needs: the cursor, to the left, up, erased.
    assert unsafe(re.sub(r"\x1b\[[\d;]*m|\x1b\[(\?25[lh]|1A|2K)|\r", "", text)) == set()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_programs_read_is_exact(world: World, run_cli: Callable[..., Said], encoding: str) -> None:
    """CSV is UTF-8 to the byte whatever the console's encoding, JSON is ASCII that reads back as it was."""
    ds = ehrtraj.open(world.dataset)
    said = run_cli("codes", world.dataset, "--csv", encoding=encoding)
    read = pl.read_csv(said.out)
    assert set(read["code"]) == set(ds.codes["code"])
    assert sum(HOSTILE in code for code in read["code"]) > 2
    applied = run_cli("rules", "applied", world.dataset, "--csv", encoding=encoding).out
    assert pl.read_csv(applied, infer_schema=False)["rule"].n_unique() > 3
    info = run_cli("info", world.dataset, "--json", encoding=encoding).out
    assert info.isascii()
    assert json.loads(info)["path"] == str(world.dataset)
    page = run_cli("rules", "docs", encoding=encoding).out
    assert page == (SOURCE.parents[1] / "docs" / "reference" / "rules.md").read_bytes()
    task = run_cli("tasks", "aki_48h", encoding=encoding).out
    assert task == (SOURCE / "sources" / "mimiciv" / "tasks" / "aki_48h.yaml").read_bytes()


def test_csv_on_a_terminal_is_escaped(world: World) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ehrtraj", "codes", str(world.dataset), "RACE//*", "--csv"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # the other end is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    assert unsafe(shown.decode().replace("\r\n", "\n")) == set()
    assert ESCAPED in shown.decode()


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_console_of_another_encoding(world: World, environment: dict[str, str]) -> None:
    """A process of its own, so that the streams are the interpreter's."""
    # A path that the locale cannot spell is another matter.
    link = world.root.parent / environment.get("LC_ALL", "link")
    link.symlink_to(world.dataset)
    for arguments in (["codes", str(link)], ["--help"]):
        command = [sys.executable, "-m", "ehrtraj", *arguments]
        said = subprocess.run(command, capture_output=True, timeout=60, env=os.environ | environment, check=False)
        assert said.returncode == 0, said.stderr
        assert said.stdout.isascii()
        assert said.stderr.isascii()
        assert b"Traceback" not in said.stderr


def test_whoever_reads_may_stop_reading(world: World) -> None:
    """`ehrtraj codes ... | head -1`: no traceback, and the exit code that shells know."""
    command = [sys.executable, "-m", "ehrtraj", "codes", str(world.dataset), "--csv"]
    for arguments in (command, [*command[:-1], "--limit", "500"]):
        reading, writing = os.pipe()
        os.close(reading)
        said = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
        os.close(writing)
        assert (said.returncode, said.stderr) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        said = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert said.returncode == 4
    assert said.stderr.startswith(b"error: cannot write to the standard output: No space left")
    assert said.stderr.count(b"\n") == 1


def test_every_character_that_could_act_is_escaped() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            assert visible(character).startswith("\\"), f"U+{code:04X}"
            assert visible(character).isascii()
    for plain in ("mg/dL", "µg ≥ 5 °C, café, 血压, 🩺", "C:\\data", "[bold]"):
        assert visible(plain) == plain
    assert visible("a\nb\tc\r", keep="\n") == "a\nb\\tc\\r"
    assert visible("\U000e0041\ud83d\u00ad") == r"\U000e0041\ud83d\xad"


def test_a_character_that_an_encoding_lacks_is_replaced() -> None:
    assert encodable("5 µg…", "utf-8") == "5 µg…"
    assert encodable("5 µg…", "cp1252") == "5 µg…"
    assert encodable("5 µg…", "latin-1") == "5 µg~"
    assert encodable("5 µg → ≥", "ascii") == r"5 \xb5g > \u2265"
    assert encodable("µ", "no-such-encoding") == r"\xb5"


def test_tables_stay_in_line_when_their_cells_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    table = Table("code", "count", box=None, pad_edge=False)
    table.add_row("a\x1b\u202e\nb", "1")
    table.add_row("plain", "2")
    screen.out().print(table)
    head, hostile, plain = capsys.readouterr().out.splitlines()
    assert hostile == r"a\x1b\u202e\nb  1    "
    assert plain.index("2") == hostile.index("  1") + 2 == head.index("count")


# Names that write to the streams, and the modules of rich that do or that take text for markup.
WRITERS = {"print", "input", "getpass"}
STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}
OF_RICH = {
    "rich",
    "rich.console",
    "rich.markup",
    "rich.prompt",
    "rich.live",
    "rich.logging",
    "rich.status",
    "rich.panel",
}
NAMES_OF_RICH = {"Console", "Progress", "TextColumn", "Live", "track"}
ECHOES = {"copied_result", "secho", "prompt", "confirm", "print_exception", "print_exc", "basicConfig"}
# Where it is allowed, and why.
ALLOWED = {
    "cli/run.py": "hands the streams of the interpreter over to the writer",
    "download/credentials.py": "asks for the password on the terminal itself",
    "runtime/bar.py": "draws the bar of a library call, where there is no command line; its title is ours",
}


def offences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WRITERS:
            yield node.lineno, f"{node.func.id}()"
        elif isinstance(node, ast.Attribute) and node.attr in ECHOES | {"getpass"}:
            yield node.lineno, node.attr
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            if node.attr in STREAMS:
                yield node.lineno, f"sys.{node.attr}"
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in OF_RICH | {"logging"})
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if node.module in OF_RICH or names & NAMES_OF_RICH or (node.module == "sys" and names & STREAMS):
                yield node.lineno, f"from {node.module} import {', '.join(sorted(names))}"


def test_nobody_else_writes_to_the_terminal() -> None:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if not name.startswith("cli/show/") and name not in ALLOWED:
            found += [f"{name}:{line}: {what}" for line, what in offences(ast.parse(path.read_text("utf-8")))]
    assert found == [], "print with the functions of cli/show/"


def test_the_walk_finds_each_way_to_write() -> None:
    for code in (
        "print(1)", "sys.stdout.write('')", "sys.stderr", "from sys import stdout", "typer.copied_result('')",
        "from rich.console import Console", "from rich.markup import escape", "from rich import print",
        "from rich.progress import Progress", "traceback.print_exc()", "import logging", "getpass.getpass()",
    ):  # fmt: skip
        assert list(offences(ast.parse(code))), code
