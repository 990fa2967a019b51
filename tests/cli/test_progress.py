"""Progress of long commands, and the options that decide how much they print."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ehrtraj
from ehrtraj.cli.registry import all_commands
from ehrtraj.cli.show import screen
from ehrtraj.cli.show.activity import EVERY, Activity, ProgressLines
from ehrtraj.cli.show.build import ConsoleReporter
from ehrtraj.cli.show.download import ConsoleDownloadReporter
from ehrtraj.cli.show.log_file import without_data
from ehrtraj.cli.show.synth import ConsoleSynthReporter
from ehrtraj.errors import OutputError, SettingsError
from ehrtraj.readable import rough_duration


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Forget the options of a test."""
    yield
    screen.configure("")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written() -> list[str]:
    return []


@pytest.fixture
def lines(clock: Clock, written: list[str]) -> ProgressLines:
    return ProgressLines(written.append, clock)


# Lines ---------------------------------------------------------------------------------------------------------


def test_there_is_a_line_every_ten_seconds_and_none_before(
    lines: ProgressLines, clock: Clock, written: list[str]
) -> None:
    assert EVERY == 10
    lines.begin("reading tables")
    for second in range(35):
        clock.now = 100.0 + second
        lines.update(second / 100, "7.6 GB", "hosp/poe, 12 rows")
        lines.tick()
    assert written == [
        "reading tables: 10 % of 7.6 GB, hosp/poe, 12 rows, about 2 min left",
        "reading tables: 20 % of 7.6 GB, hosp/poe, 12 rows, about 1 min left",
        "reading tables: 30 % of 7.6 GB, hosp/poe, 12 rows, about 1 min left",
    ]


def test_work_that_reports_nothing_has_lines_too(lines: ProgressLines, clock: Clock, written: list[str]) -> None:
    lines.begin("publishing")
    clock.now += 25
    lines.tick()
    clock.now += 9
    lines.tick()
    assert written == ["publishing: for 20 s"]


def test_the_time_left_is_that_of_the_current_work(lines: ProgressLines, clock: Clock, written: list[str]) -> None:
    lines.begin("reading tables")
    clock.now += 1000
    lines.begin("making events")
    clock.now += 30
    lines.update(0.25, done="shard 1/4")
    lines.tick()
    assert written == ["making events: 25 %, shard 1/4, about 2 min left"]


def test_nothing_is_written_before_any_work(lines: ProgressLines, clock: Clock, written: list[str]) -> None:
    lines.update(0.5)
    clock.now += 100
    lines.tick()
    assert written == []


def test_the_thread_writes_lines_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrtraj.cli.show.activity.EVERY", 0.01)
    written: list[str] = []
    lines = ProgressLines(written.append)
    lines.begin("publishing")
    lines.start()
    deadline = time.monotonic() + 30
    while len(written) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    lines.stop()
    count = len(written)
    assert count >= 2
    time.sleep(0.05)
    assert len(written) == count


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (7, "7 s"), (44, "40 s"), (59, "60 s"), (100, "2 min"), (3600, "1 h 0 min"), (9000, "2 h 30 min")],
)
def test_estimated_times_are_rounded(seconds: float, text: str) -> None:
    assert rough_duration(seconds) == text


# Reporters -----------------------------------------------------------------------------------------------------


def lines_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every progress report write a line to the returned list."""
    shown: list[str] = []
    original = ProgressLines.update

    def update(self: ProgressLines, share: float | None, of: str = "", done: str = "") -> None:
        original(self, share, of, done)
        self.tick()

    monkeypatch.setattr("ehrtraj.cli.show.activity.EVERY", 0.0)
    monkeypatch.setattr(ProgressLines, "start", lambda self: None)
    monkeypatch.setattr(ProgressLines, "update", update)
    monkeypatch.setattr(screen, "progress", shown.append)
    monkeypatch.setattr("ehrtraj.cli.show.download.progress", shown.append)
    return shown


def test_a_build_shows_bytes_then_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines_of(monkeypatch)
    reporter = ConsoleReporter()
    reporter.staging(4_000_000_000)
    reporter.staged("hosp/poe", 1_000_000_000, 1_234)
    reporter.staged("icu/icustays", 3_000_000_000, 1)
    reporter.extracting(2)
    reporter.extracting_share(0.25)
    reporter.extracting_share(0.5)
    reporter.extracted(7_000)
    reporter.close()
    without_time = [re.sub(r", about .* left", "", line) for line in shown]
    assert without_time == [
        "reading tables: 25 % of 4.00 GB, hosp/poe, 1,234 rows",
        "reading tables: 100 % of 4.00 GB, icu/icustays, 1,235 rows",
        "making events: 0 %, shard 0/2, 0 events",
        "making events: 25 %, shard 0/2, 0 events",
        "making events: 50 %, shard 0/2, 0 events",
        "making events: 50 %, shard 1/2, 7,000 events",
    ]


def test_synth_moves_within_its_only_block(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = lines_of(monkeypatch)
    from ehrtraj.synth.run import synth

    synth(tmp_path / "release", patients=3, max_cpus=1, reporter=ConsoleSynthReporter())
    shares = [int(re.search(r"(\d+) %", line)[1]) for line in shown]  # type: ignore[index]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 100)
    assert len({share for share in shares if share < 100}) > 10


def test_a_download_shows_files_and_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines_of(monkeypatch)
    reporter = ConsoleDownloadReporter()
    reporter.checking(2, 100)
    reporter.checked("hosp/a.csv.gz", 50)
    reporter.begin({"hosp/a.csv.gz": (3_000_000, 0), "hosp/b.csv.gz": (1_000_000, 0)})
    reporter.received("hosp/a.csv.gz", 1_000_000)
    reporter.close()
    assert shown[0].startswith("checking 2 existing files: 50 %")
    assert re.match(r"fetching: 25 % of 4 MB, 0 of 2 files, \d.*/s, about .* left", shown[1])


# Options -------------------------------------------------------------------------------------------------------


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ehrtraj", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | environment
    )


def test_every_long_command_has_the_options_and_no_other() -> None:
    long = {name for name, command in all_commands().items() if command.long}
    assert long == {
        "build", "check", "concepts", "demo", "diff", "download", "export", "label", "synth", "verify",
    }  # fmt: skip


def test_quiet_prints_the_line_with_the_result(release: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ["build", release, "-o", tmp_path, "-t", "v1", "--max-cpus", 1, "--tables", "admissions"]
    ran = run(*arguments, "--quiet", "--log-file", log)
    assert ran.returncode == 0
    # Warnings remain.
    assert re.fullmatch(r"WARNING: the release is incomplete: [^\n]+\n", ran.stderr)
    assert re.fullmatch(r"6 patients, \d+ events from MIMIC-IV 3\.1 in [^\n]+\n", ran.stdout)
    # The log has what stderr would get without --quiet, which includes notes.
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    first, *rest = log.read_text().splitlines()
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d ehrtraj {re.escape(ehrtraj.__version__)} build", first)
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", text) for text in rest)
    again = run(*arguments, "-q", "--log-file", log)
    assert "is already there" in again.stdout
    assert again.stdout.count("\n") == 1
    assert log.read_text().startswith("\n".join([first, *rest])), "the log is appended to"


def test_quiet_leaves_json_and_errors(built: Path, tmp_path: Path) -> None:
    ran = run("check", built, "--json", "--quiet", "--max-cpus", 1)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["patients"] == 8
    log = tmp_path / "log"
    failed = run("check", tmp_path / "nowhere", "-q", "--log-file", log)
    assert (failed.returncode, failed.stdout) == (7, "")
    assert failed.stderr.startswith("error: ")
    assert "error: the folder" in log.read_text()


def test_quiet_leaves_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    screen.configure("build", quiet=True)
    screen.note("unheard")
    screen.warning("hosp/labevents is truncated")
    assert capsys.readouterr() == ("", "WARNING: hosp/labevents is truncated\n")


def test_verbose_prints_settings_tables_and_versions(release: Path, tmp_path: Path) -> None:
    ran = run("build", release, "-o", tmp_path, "-t", "v1", "--max-cpus", 1, "--verbose")
    assert ran.returncode == 0, ran.stderr
    for words in (f"ehrtraj {ehrtraj.__version__}, Python", "duckdb", f"setting data_dir: {release} (command line)"):
        assert words in ran.stderr
    assert re.search(r"^read hosp/labevents: [\d,]+ rows, \d+\.\d s$", ran.stderr, re.M)
    assert re.search(r"^making events: \d+\.\d s$", ran.stderr, re.M)
    assert "CPU seconds" in ran.stdout


def test_contradicting_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match="--quiet and --verbose"):
        screen.configure("build", quiet=True, verbose=True)


# Log file ------------------------------------------------------------------------------------------------------


def test_a_log_file_replaces_or_extends_no_other_file(tmp_path: Path) -> None:
    other, link = tmp_path / "labevents.csv", tmp_path / "link"
    other.write_text("subject_id\n1\n")
    link.symlink_to(tmp_path / "absent")
    for path, reason in ((other, "is not a log file"), (link, "cannot write"), (tmp_path, "cannot write")):
        with pytest.raises(OutputError, match=reason):
            screen.configure("check", log_file=path)
    assert other.read_text() == "subject_id\n1\n"
    assert not (tmp_path / "absent").exists()


def test_the_log_has_all_messages_and_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    screen.configure("check", quiet=True, log_file=log)
    screen.note("1,234,567 rows")
    screen.warning("a warning")
    screen.detail("a detail")
    screen.progress("checking: 41 %")
    screen.error('subject_id 10000032 is unknown\nConversion Error: Could not convert string "Smith" to INT32')
    content = [text[20:] for text in log.read_text().splitlines()]
    assert content[1:] == [
        "note: 1,234,567 rows",
        "WARNING: a warning",
        "checking: 41 %",
        "error: subject_id <number> is unknown",
        "Conversion Error: Could not convert string <text> to INT32",
    ]
    assert capsys.readouterr().err.startswith("WARNING: a warning\nerror: subject_id 10000032")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1,234,567 rows in 12.5 s, v3.1, 2026", "1,234,567 rows in 12.5 s, v3.1, 2026"),
        ("patient 10000032", "patient <number>"),
        ("patients 10000032, 10000048", "patients <number>, <number>"),
        ("p100/p10000032/x", "p100/p<number>/x"),
        ("shard 00007.parquet", "shard <number>.parquet"),
    ],
)
def test_identifiers_are_replaced(text: str, wanted: str) -> None:
    assert without_data(text) == wanted


def test_hostile_text_cannot_forge_a_line_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    screen.configure("check", quiet=True, log_file=log)
    screen.note("a\x1b[2J\rb")
    assert log.read_text().splitlines()[-1].endswith(r"note: a\x1b[2J\rb")


def test_quiet_shows_no_bar_and_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen.configure("build", quiet=True)
    assert not screen.shows_progress_lines()
    activity = Activity()
    activity.begin("reading")
    activity.update(0.5)
    activity.close()
    screen.progress("reading: 50 %")
    assert capsys.readouterr() == ("", "")
