"""Output to terminals: no character from data that a terminal would obey or hide, in any encoding."""

from __future__ import annotations

import ast
import io
import json
import os
import pty
import re
import shlex
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

# A window title, an erased screen, a C1 control, overrides of the text direction, characters without width, unusual
# line separators, rich's markup, and characters that some consoles lack.
HOSTILE = (
    "a\x1b[31m\x1b]0;owned\x07\x1b[2J\x9b2J\u202eb\u2066\u200f\u061c\u200b\ufeff\u2028\u2029\x7f\x08[bold]c[/x]"
    "\N{GREEK SMALL LETTER MU}\u2265\xe9"
)
NAME = HOSTILE.replace("/", "|") + "\nerror: forged"
"""The same for files and folders, whose names cannot contain a slash but can contain a line end."""
ESCAPED = r"a\x1b[31m\x1b]0;owned\x07\x1b[2J\x9b2J\u202eb\u2066\u200f\u061c\u200b\ufeff\u2028\u2029\x7f\x08[bold]c[/x]"

# A predicate that matches no code is reported in a note.
TASK = 'description: "{0}"\npredicates:\n  "x": {{ code: "{0}" }}'

# Columns with free text, by table.
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
class Output:
    code: int
    out: bytes
    err: bytes


@dataclass
class HostileData:
    """Paths of the hostile inputs on which the commands run."""

    root: Path
    release: Path
    dataset: Path
    damaged: Path
    subject: int
    other: Path


@pytest.fixture(scope="module")
def hostile_data(handmade: ModuleType, built: Path, tmp_path_factory: pytest.TempPathFactory) -> HostileData:
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
    dataset = ehrtraj.build(release, root, "v1", max_cpus=1).path
    damaged = Path(shutil.copytree(dataset, root / "v2"))
    codes = damaged / "metadata" / "codes.parquet"
    pl.read_parquet(codes, glob=False).filter(~pl.col("code").str.contains("owned")).write_parquet(codes)
    task = (SOURCE / "sources" / "mimiciv" / "tasks" / "in_hospital_mortality.yaml").read_text()
    quoted = json.dumps(HOSTILE)[1:-1].replace("/", r"\/")
    (root / "task.yaml").write_text(
        re.sub("description: .*?predicates:", TASK.format(quoted).replace("\\", r"\\"), task, flags=re.S)
    )
    other = Path(shutil.copytree(built, root / "v3"))
    return HostileData(root, release, dataset, damaged, handmade.SEPSIS, other)


Arguments = list[object]
Invocations = list[tuple[int, Callable[[HostileData], Arguments]]]

# For each command: its exit code, and arguments with which it prints text from data or names of files.
COMMANDS: dict[str, Invocations] = {
    "build": [
        (
            0,
            lambda h: [
                "build",
                h.release,
                "-o",
                h.root / "again",
                "-t",
                "v1",
                "--max-cpus",
                1,
                "--tables",
                "admissions",
                "--overwrite",
            ],
        ),
        (0, lambda h: ["build", h.release, "-o", h.root, "-t", "v1", "--max-cpus", 1, "--standardise"]),
        (0, lambda h: ["build", h.release, "-o", h.root, "-t", "v1", "--show-config"]),
        (2, lambda h: ["build", h.release, "-o", h.root, "-t", HOSTILE]),
        (2, lambda h: ["build", h.release, "-o", h.root, "-t", "v1", "--tables", HOSTILE]),
        (2, lambda h: ["build", h.release, "-t", "v1", "--config", h.root / "nowhere.toml"]),
        (3, lambda h: ["build", h.root / "nowhere", "-t", "v1"]),
    ],
    "check": [
        (0, lambda h: ["check", h.dataset, "--max-cpus", 1]),
        (1, lambda h: ["check", h.damaged, "--max-cpus", 1]),
        (1, lambda h: ["check", h.damaged, "--max-cpus", 1, "--json"]),
        (7, lambda h: ["check", h.root / "nowhere"]),
    ],
    "codes": [
        (0, lambda h: ["codes", h.dataset, "--limit", 500]),
        (7, lambda h: ["codes", h.dataset, HOSTILE + "?"]),
    ],
    "concepts": [
        (0, lambda h: ["concepts", "--list"]),
        (0, lambda h: ["concepts", "--explain", "vitalsign"]),
        (0, lambda h: ["concepts", h.other, "vitalsign", "--max-cpus", 1]),
        (0, lambda h: ["concepts", h.other, "vitalsign", "--events", "-o", h.root / "with", "--max-cpus", 1]),
        (4, lambda h: ["concepts", h.other, "vitalsign", "--events", "-o", h.release]),
        (2, lambda h: ["concepts", h.dataset, HOSTILE]),
        (2, lambda h: ["concepts", h.dataset, "--clock", HOSTILE]),
        (7, lambda h: ["concepts", h.root / "nowhere"]),
    ],
    "demo": [(4, lambda h: ["demo", h.dataset / "manifest.json"])],
    "diff": [
        (1, lambda h: ["diff", h.dataset, h.other, "--max-cpus", 1]),
        (1, lambda h: ["diff", h.dataset, h.other, "--max-cpus", 1, "--json"]),
        (1, lambda h: ["diff", h.dataset, h.other, "--max-cpus", 1, "--html", h.root / "d.html", "--with-examples"]),
        (2, lambda h: ["diff", h.dataset, h.other, "--with-examples"]),
    ],
    "download": [(2, lambda h: ["download", HOSTILE]), (2, lambda h: ["download"])],
    "explain": [
        (0, lambda h: ["explain", h.dataset, h.subject, "--limit", 9]),
        (0, lambda h: ["explain", h.dataset, h.subject, "--code", "RACE//*"]),
        (
            0,
            lambda h: ["explain", h.dataset, h.subject, "--code", "RADIOLOGY_NOTE//*", "--release", h.root / "nowhere"],
        ),
    ],
    "export": [
        (0, lambda h: ["export", h.dataset, "-o", h.root / "files", "--overwrite", "--max-cpus", 1]),
        (4, lambda h: ["export", h.dataset, "-o", h.release, "--max-cpus", 1]),
    ],
    "flags": [
        (0, lambda h: ["flags"]),
        (0, lambda h: ["flags", h.dataset]),
        (0, lambda h: ["flags", h.dataset, "--json"]),
        (2, lambda h: ["flags", "--flag", HOSTILE]),
        (7, lambda h: ["flags", h.root / "nowhere"]),
    ],
    "info": [(0, lambda h: ["info", h.dataset]), (0, lambda h: ["info", h.dataset, "--json"])],
    "label": [
        (0, lambda h: ["label", h.dataset, h.root / "task.yaml", "-o", h.root / "l.parquet", "--overwrite"]),
        (2, lambda h: ["label", h.dataset, HOSTILE]),
        (4, lambda h: ["label", h.dataset, "in_hospital_mortality", "-o", h.dataset]),
    ],
    "plan": [
        (0, lambda h: ["plan", h.release]),
        (0, lambda h: ["plan", h.release, "--json"]),
        (2, lambda h: ["plan", h.release, "--tables", HOSTILE]),
        (3, lambda h: ["plan", h.root / "nowhere"]),
    ],
    "report": [
        (0, lambda h: ["report", h.dataset, "--with-examples"]),
        (4, lambda h: ["report", h.dataset, "-o", h.release]),
        (7, lambda h: ["report", h.root / "nowhere"]),
    ],
    "rules applied": [(0, lambda h: ["rules", "applied", h.dataset, "--limit", 500])],
    "rules docs": [(2, lambda h: ["rules", "docs", "--overlay", h.root / "nowhere"])],
    "rules explain": [(2, lambda h: ["rules", "explain", HOSTILE]), (0, lambda h: ["rules", "explain", "50912"])],
    "rules list": [(0, lambda h: ["rules", "list"])],
    "show": [
        (0, lambda h: ["show", h.dataset, h.subject, "--attributes"]),
        (2, lambda h: ["show", h.dataset, HOSTILE]),
        (7, lambda h: ["show", h.root, 1]),
    ],
    "synth": [(4, lambda h: ["synth", h.root]), (2, lambda h: ["synth", h.root / "x", "--release", HOSTILE])],
    "tables": [(0, lambda h: ["tables"]), (2, lambda h: ["tables", "--overlay", h.root / "nowhere"])],
    "tasks": [(0, lambda h: ["tasks"]), (2, lambda h: ["tasks", HOSTILE])],
    # Without an error, it does not end.
    "view": [
        (2, lambda h: ["view", h.dataset, "--no-browser", "--host", HOSTILE]),
        (2, lambda h: ["view", h.dataset, "--no-browser", "--cohort", h.root / "nowhere.csv"]),
        (7, lambda h: ["view", h.root / "nowhere"]),
    ],
    "verify": [(3, lambda h: ["verify", h.release])],
}

EVERY = [(name, number) for name, invocations in COMMANDS.items() for number in range(len(invocations))]

# These must show the planted text in its escaped form. Otherwise the test would try nothing.
SHOW_DATA = ("check 1", "codes 0", "diff 0", "explain 0", "explain 1", "info 0", "rules applied 0", "show 0")


def names_of(command: Any, above: str = "") -> Iterator[str]:
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from names_of(inner, f"{name} ")
        else:
            yield f"{above}{name}"


def test_every_command_is_tested() -> None:
    assert set(COMMANDS) == set(names_of(typer.main.get_command(app)))


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Output]:
    """Return a function that runs a command in this process, with output streams in a given encoding.

    With `columns`, stdout is a terminal of this width.
    """

    def cli(*arguments: object, encoding: str, columns: int | None = None) -> Output:
        out, err = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["ehrtraj", *map(str, arguments)])
            patch.setattr(
                sys, "stdout", (io.TextIOWrapper if columns is None else Terminal)(out, encoding, write_through=True)
            )
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding, write_through=True))
            if columns is not None:
                for name, value in (
                    ("COLUMNS", columns),
                    ("TERM", "xterm"),
                    ("NO_COLOR", 1),
                    ("PAGER", "no-such-pager"),
                ):
                    patch.setenv(name, str(value))
            patch.setattr(interrupt, "silence", lambda: None)
            with pytest.raises(SystemExit) as ended:
                run.run()
            sys.stdout.flush()
            return Output(int(str(ended.value.code)), out.getvalue(), err.getvalue())

    return cli


def unsafe(text: str) -> set[str]:
    """Return the characters of a text that a terminal obeys, or that are invisible."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n"}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("name", "number"), EVERY, ids=lambda value: str(value))
def test_nothing_from_data_acts_on_the_terminal(
    hostile_data: HostileData, run_cli: Callable[..., Output], name: str, number: int, encoding: str
) -> None:
    code, arguments = COMMANDS[name][number]
    result = run_cli(*arguments(hostile_data), encoding=encoding)
    out, err = result.out.decode(encoding), result.err.decode(encoding)
    assert result.code == code, out + err
    assert unsafe(out + err) == set()
    assert "Traceback" not in err
    assert not re.search("^error: forged", out + err, re.M), "the name of a file looks like a message"
    if f"{name} {number}" in SHOW_DATA:
        # Tables wrap long texts.
        assert ESCAPED in re.sub(r"\s", "", out).replace("[/|", "[/") or r"\x1b[31m" in out, out


NOWHERE = HostileData(Path(), Path(), Path(), Path(), 1, Path())
# Output for people, of commands that succeed or report what they found.
READABLE = [
    (name, number)
    for name, number in EVERY
    if COMMANDS[name][number][0] in (0, 1)
    and not {"docs", "--json"} & {*name.split(), *map(str, COMMANDS[name][number][1](NOWHERE))}
]


def words_of(output: bytes) -> list[str]:
    """Return the words of an output, without what differs each time, escape sequences, and ends of folded commands."""
    text = re.sub(r"[|/\\-] looking up [^\r\n\x1b]*", "", output.decode())
    text = re.sub(r"\x1b\[[\d;]*m|(?m: \\$)", "", text)
    text = " ".join(re.sub(r"\x1b\[[\d?]*[a-zA-Z]|\r", " ", text).split())
    return sorted(re.sub(r"\b[\d.,]+ (s|[kMG]?B|min)\b", "", text).split())


@pytest.mark.parametrize(("name", "number"), READABLE, ids=lambda value: str(value))
def test_nothing_is_cut_or_broken_on_a_terminal(
    hostile_data: HostileData, run_cli: Callable[..., Output], name: str, number: int
) -> None:
    """A terminal shows the same words as a pipe, where nothing is folded: each code, path and flag is complete."""
    arguments = COMMANDS[name][number][1](hostile_data)
    if name == "concepts":
        run_cli(*arguments, encoding="utf-8")  # the first run computes them, and all others only report that
    piped = run_cli(*arguments, encoding="utf-8")
    shown = run_cli(*arguments, encoding="utf-8", columns=80)
    assert words_of(shown.out) == words_of(piped.out)


def lines_of(output: bytes) -> list[str]:
    return re.sub(r"\x1b\[[\d;]*m", "", output.decode()).splitlines()


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize(
    "arguments",
    [
        *("info {}", "codes {} --limit 500", "rules applied {}", "flags {}", "show {} {}", "rules list"),
        *("rules explain 50912", "tables", "tasks", "concepts --list", "concepts --explain sofa"),
    ],
)
def test_lines_fit_on_the_terminal(
    built: Path, handmade: ModuleType, run_cli: Callable[..., Output], arguments: str, columns: int
) -> None:
    """Only a name without a space can be longer than a line, and codes, which are never folded."""
    codes = set(ehrtraj.open(built).codes["code"])
    output = run_cli(*arguments.format(built, handmade.SEPSIS).split(), encoding="utf-8", columns=columns).out
    text, _, sql = output.partition(b"\nWITH\n")
    assert bool(sql) == ("explain sofa" in arguments)
    too_long = [shown for shown in lines_of(text) if len(shown) > columns]
    names = [re.sub(r"^ +[\d,]+  (?=\S)", "", shown).strip() for shown in too_long]
    assert [name for name in names if name not in codes and " " in name] == []


def test_each_row_is_one_line_without_a_terminal(built: Path, run_cli: Callable[..., Output]) -> None:
    """Columns are separated by at least two spaces, nothing is drawn, and no line ends with white space."""
    ds = ehrtraj.open(built)
    head, *rows = lines_of(run_cli("codes", built, "--limit", 500, encoding="utf-8").out)
    assert head.split() == ["code", "description", "unit", "events", "patients"]
    wanted = ds.codes.sort("n_events", "code", descending=[True, False])
    assert [row.split("  ")[0] for row in rows] == wanted["code"].to_list()
    for row, described in zip(rows, wanted["description"], strict=True):
        assert (described or "") in row
        assert row == row.rstrip()
    assert {len(re.split(" {2,}", row)) for row in rows} <= {4, 5}


# What the name of a value can be, with examples of values that a reader would try.
METAVARS = {"PATH", "N", "NAME", "NAMES", "SIZE", "TIME", "SECONDS", "SHARE", "PATTERN", "UNIT", "URL"}


def helps(command: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield above, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from helps(inner, (*above, name))


def test_help_fits_on_the_terminal(run_cli: Callable[..., Output]) -> None:
    for names, command in helps(typer.main.get_command(app)):
        shown = run_cli(*names, "--help", encoding="utf-8", columns=80).out
        piped = run_cli(*names, "--help", encoding="utf-8").out
        assert words_of(shown) == words_of(piped), names
        assert [shown for shown in lines_of(shown) if len(shown) > 80] == [], names
        assert piped.isascii()
        assert b"\n\n\n" not in piped.rstrip()
        for option in command.params:
            if option.param_type_name == "argument":
                assert option.metavar in piped.decode()
            elif option.metavar:
                own = str(option.name).upper().split("_")
                assert option.metavar in METAVARS | set(own) | {"FORMAT"}, (names, option.name, option.metavar)
                assert f"{max(option.opts, key=len)} {option.metavar}  " in piped.decode()


def test_a_folded_command_can_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    command = (
        "  ehrtraj show trajectories/v1 10000032 --code 'LAB//*' --code 'A  name' --from '2180-07-23 14:00' --days"
    )
    written = io.BytesIO()
    terminal = Terminal(written, "utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", terminal)
    for name, value in (("COLUMNS", "40"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    screen.out().print_command(command)
    monkeypatch.undo()
    lines = written.getvalue().decode().splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 40
    assert shlex.split(" ".join(line.removesuffix("\\") for line in lines)) == shlex.split(command)
    assert [line.endswith(" \\") for line in lines] == [True] * (len(lines) - 1) + [False]


def test_all_of_the_planted_text_is_shown(hostile_data: HostileData, run_cli: Callable[..., Output]) -> None:
    out = run_cli("show", hostile_data.dataset, hostile_data.subject, encoding="utf-8").out.decode()
    assert ESCAPED + "μ≥é" in out
    assert ESCAPED + r"\u03bc\u2265é" in run_cli(
        "show", hostile_data.dataset, hostile_data.subject, encoding="latin-1"
    ).out.decode("latin-1")
    assert ESCAPED + r"\u03bc\u2265\xe9" in run_cli(
        "show", hostile_data.dataset, hostile_data.subject, encoding="ascii"
    ).out.decode("ascii")


@pytest.mark.parametrize("name", SHOW_DATA)
def test_coloured_output_contains_only_our_escape_sequences(
    hostile_data: HostileData, run_cli: Callable[..., Output], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PAGER", "no-such-pager")
    command, _, number = name.rpartition(" ")
    result = run_cli(*COMMANDS[command][int(number)][1](hostile_data), encoding="utf-8")
    text = (result.out + result.err).decode()
    assert "\x1b[" in text
    # Colours, and the sequences of the status line: cursor on or off, cursor to the left, cursor up, erase line.
    assert unsafe(re.sub(r"\x1b\[[\d;]*m|\x1b\[(\?25[lh]|1A|2K)|\r", "", text)) == set()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_output_for_programs_is_exact(hostile_data: HostileData, run_cli: Callable[..., Output], encoding: str) -> None:
    """CSV is exact UTF-8 regardless of the console's encoding, and JSON is ASCII that reads back without loss."""
    ds = ehrtraj.open(hostile_data.dataset)
    result = run_cli("codes", hostile_data.dataset, "--csv", encoding=encoding)
    read = pl.read_csv(result.out)
    assert set(read["code"]) == set(ds.codes["code"])
    assert sum(HOSTILE in code for code in read["code"]) > 2
    applied = run_cli("rules", "applied", hostile_data.dataset, "--csv", encoding=encoding).out
    assert pl.read_csv(applied, infer_schema=False)["rule"].n_unique() > 3
    info = run_cli("info", hostile_data.dataset, "--json", encoding=encoding).out
    assert info.isascii()
    assert json.loads(info)["path"] == str(hostile_data.dataset)
    page = run_cli("rules", "docs", encoding=encoding).out
    assert page == (SOURCE.parents[1] / "docs" / "reference" / "rules.md").read_bytes()
    task = run_cli("tasks", "aki_48h", encoding=encoding).out
    assert task == (SOURCE / "sources" / "mimiciv" / "tasks" / "aki_48h.yaml").read_bytes()


def test_csv_on_a_terminal_is_escaped(hostile_data: HostileData) -> None:
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "ehrtraj", "codes", str(hostile_data.dataset), "RACE//*", "--csv"]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(controller, 65536):
                shown += piece
        except OSError:  # the other end is closed
            pass
        os.close(controller)
    assert process.returncode == 0
    assert unsafe(shown.decode().replace("\r\n", "\n")) == set()
    assert ESCAPED in shown.decode()


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_console_with_another_encoding(hostile_data: HostileData, environment: dict[str, str]) -> None:
    """Run in a separate process, so that the interpreter sets up the streams."""
    # Use a link with a plain name: a path that the locale cannot encode is a different problem.
    link = hostile_data.root.parent / environment.get("LC_ALL", "link")
    link.symlink_to(hostile_data.dataset)
    for arguments in (["codes", str(link)], ["--help"]):
        command = [sys.executable, "-m", "ehrtraj", *arguments]
        result = subprocess.run(command, capture_output=True, timeout=60, env=os.environ | environment, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stdout.isascii()
        assert result.stderr.isascii()
        assert b"Traceback" not in result.stderr


def test_the_reader_of_the_output_may_close_it(hostile_data: HostileData) -> None:
    """`ehrtraj codes ... | head -1` prints no traceback, and exits with the code that shells use for SIGPIPE."""
    command = [sys.executable, "-m", "ehrtraj", "codes", str(hostile_data.dataset), "--csv"]
    for arguments in (command, [*command[:-1], "--limit", "500"]):
        reading, writing = os.pipe()
        os.close(reading)
        result = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
        os.close(writing)
        assert (result.returncode, result.stderr) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert result.returncode == 4
    assert result.stderr.startswith(b"error: cannot write to the standard output: No space left")
    assert result.stderr.count(b"\n") == 1


def test_every_unsafe_character_is_escaped() -> None:
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


def test_table_columns_stay_aligned_when_cells_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    table = Table("code", "count", box=None, pad_edge=False)
    table.add_row("a\x1b\u202e\nb", "1")
    table.add_row("plain", "2")
    screen.out().print(table)
    head, hostile, plain = capsys.readouterr().out.splitlines()
    assert hostile == r"a\x1b\u202e\nb  1    "
    assert plain.index("2") == hostile.index("  1") + 2 == head.index("count")


# Functions that write to the streams, and modules of rich that write to them or interpret markup.
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
PRINTING_METHODS = {"echo", "secho", "prompt", "confirm", "print_exception", "print_exc", "basicConfig"}
# Files in which writing is allowed, and the reason.
ALLOWED = {
    "cli/run.py": "hands the streams of the interpreter over to the writer",
    "interrupt.py": "flushes the streams of the interpreter when the process ends",
    "download/credentials.py": "asks for the password on the terminal itself",
    "runtime/bar.py": "draws the bar of a library call, where there is no command line; its title is our text",
}


def offences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WRITERS:
            yield node.lineno, f"{node.func.id}()"
        elif isinstance(node, ast.Attribute) and node.attr in PRINTING_METHODS | {"getpass"}:
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


def test_no_other_module_writes_to_the_terminal() -> None:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if not name.startswith("cli/show/") and name not in ALLOWED:
            found += [f"{name}:{line}: {what}" for line, what in offences(ast.parse(path.read_text("utf-8")))]
    assert found == [], "print with the functions of cli/show/"


def test_the_search_finds_every_way_to_write() -> None:
    for code in (
        "print(1)", "sys.stdout.write('')", "sys.stderr", "from sys import stdout", "typer.echo('')",
        "from rich.console import Console", "from rich.markup import escape", "from rich import print",
        "from rich.progress import Progress", "traceback.print_exc()", "import logging", "getpass.getpass()",
    ):  # fmt: skip
        assert list(offences(ast.parse(code))), code
