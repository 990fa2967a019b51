"""The command line from the user's point of view: help, options, screens, and files."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrtraj
from ehrtraj import interrupt
from ehrtraj.cli.run import run
from ehrtraj.runtime.profile import STEPS
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.sources.source import packaged

# The command, with shards so small that the eight patients need several of them.
SEVERAL_SHARDS = """
from ehrtraj.cli import main
from ehrtraj.runtime.sizes import Sizes
main(Sizes(shard_rows=4000))
"""


def ehrtraj_cli(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ehrtraj", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("--nonsense", 2)])
def test_the_program_cleans_up_before_it_ends(argument: str, code: int) -> None:
    """It ends without freeing every object, but not without its output, its exit code and the functions of atexit."""
    program = "import atexit; atexit.register(print, 'cleaned up'); from ehrtraj.cli import console; console()"
    ended = subprocess.run(
        [sys.executable, "-c", program, argument],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )
    assert ended.returncode == code
    assert ended.stdout.splitlines()[-1] == "cleaned up"
    assert len((ended.stdout + ended.stderr).splitlines()) > 1


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command in this process, for commands that end before they begin to build.

    The imports of a separate process take most of a second.
    """

    def run_here(*arguments: object) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["ehrtraj", *map(str, arguments)])
            # What the end of a command changes for the rest of its process.
            patch.setattr(interrupt, "finish", lambda _: None)
            patch.setattr(interrupt, "silence", lambda: None)
            run()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run_here


@pytest.fixture(scope="module")
def done(
    handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Build the hand-made release with two processes under the usual umask.

    Returns:
        The completed command, and its output folder.
    """
    folder = tmp_path_factory.mktemp("cli")
    output = folder / "deep" / "output"
    handmade.write_release(folder / "mimic")
    command = [sys.executable, "-c", SEVERAL_SHARDS, "build", str(folder / "mimic"), "--output", str(output)]
    result = subprocess.run(
        [*command, "--trajectory-version", "v1", "--max-cpus", "2", "--as-written"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        umask=0o022,
    )
    assert result.returncode == 0, result.stderr
    return result, output


def test_help_has_examples_and_every_setting() -> None:
    result = ehrtraj_cli("build", "--help", COLUMNS="200", NO_COLOR="1")
    assert result.returncode == 0
    assert result.stderr == ""
    for word in (
        "ehrtraj build physionet.org/files/mimiciv/3.1 --output trajectories --trajectory-version v1",
        "DATA_DIR=mimic-iv",
        "--output", "--trajectory-version", "--max-cpus", "--memory-limit", "--tables", "--subjects", "--icu-only",
        "--clock", "--seed", "--overwrite", "--allow-incomplete", "--config", "--show-config", "Exit codes",
    ):  # fmt: skip
        assert word in result.stdout, word
    assert "build" in ehrtraj_cli("--help").stdout


def test_the_examples_of_the_help_can_be_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Each example is a valid command: run unchanged in an empty folder, it fails only because its input is missing."""
    examples = re.findall(
        r"^ *((?:\w+=\S+ )*ehrtraj build .*?) *$", ehrtraj_cli("build", "--help", COLUMNS="200").stdout, re.M
    )
    assert len(examples) == 10
    (tmp_path / "settings.toml").write_text('data_dir = "mimic-iv"\ntrajectory_version = "v1"\n')
    monkeypatch.chdir(tmp_path)
    for example in examples:
        words = shlex.split(example)
        command = words.index("ehrtraj")
        with monkeypatch.context() as patch:
            for name, _, value in (word.partition("=") for word in words[:command]):
                patch.setenv(name, value)
            result = refused(*words[command + 1 :])
        assert result.returncode == (0 if "--show-config" in example else 3), (example, result.stderr)
        assert "--show-config" in example or "does not exist" in result.stderr


def test_version() -> None:
    result = ehrtraj_cli("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"ehrtraj {ehrtraj.__version__}\n", "")


def test_show_config_prints_the_origin_of_each_setting(tmp_path: Path) -> None:
    """The command line wins over the environment, which wins over the file, which wins over the default.

    Nothing is built.
    """
    folder = tmp_path / ("a [very] long name " * 6).strip()
    file = tmp_path / "settings.toml"
    file.write_text('data_dir = "in-file"\nclock = "available"\nseed = 1\nmax_cpus = 1\ntrajectory_version = "v0"\n')
    result = ehrtraj_cli(
        "build", folder, "--output", tmp_path / "out", "--seed", 3, "--config", file, "--show-config",
        SEED="2", MAX_CPUS="2", EHRTRAJ_TRAJECTORY_VERSION="v9", TRAJECTORY_VERSION="v8",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    expected = {
        "data_dir": (folder, "command line"),
        "output": (tmp_path / "out", "command line"),
        "seed": ("3", "command line"),
        "max_cpus": ("2", "environment MAX_CPUS"),
        "trajectory_version": ("v9", "environment EHRTRAJ_TRAJECTORY_VERSION"),
        "clock": ("available", f"file {file}"),
        "memory_limit": ("4", "default"),
        "tables": ("", "default"),
        "subjects": ("", "default"),
        "icu_only": ("", "default"),
        "overwrite": ("", "default"),
        "standardise": ("True", "default"),
        "gem": ("", "default"),
        "concept_maps": ("", "default"),
        "vocabulary": ("", "default"),
        "ed": ("", "default"),
        "note": ("", "default"),
        "modules": ("", "default"),
        "notes": ("inline", "default"),
        "source": ("", "default"),
        "overlay": ("", "default"),
        "export": ("", "default"),
        "concepts": ("", "default"),
        "splits": ("", "default"),
        "allow_incomplete": ("", "default"),
        "report": ("True", "default"),
    }
    assert set(lines) == {"setting", *expected}
    for name, (value, origin) in expected.items():
        assert re.sub(r"\s+", " ", str(value)) in re.sub(r"\s+", " ", lines[name]), name
        assert lines[name].rstrip().endswith(origin), name
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--tables", "labevent"], ["no table 'labevent' (did you mean labevents?)", "hosp/labevents"]),
        (["--tables", "icu/charevents"], ["no table 'icu/charevents' (did you mean icu/chartevents?)"]),
        (["--notes", "inlne"], ["notes is 'inlne' (did you mean inline?)"]),
        (["--export", "patient:jsnl"], ["export is 'patient:jsnl' (did you mean jsonl?)"]),
        (["--source", "mimicv"], ["no source 'mimicv' (did you mean mimiciv?)"]),
        (["--memory-limit", "lots"], ["'lots' is not a size", "4GB"]),
        (["--memory-limit", "100MB"], ["it must be at least 1GB"]),
        (["--memory-limit", "4"], ["4 bytes", "did you mean 4GB?"]),
        (["--max-cpus", "0"], ["1 or more"]),
        (["--clock", "later"], ["'event' or 'available'"]),
        (["--subjects", "nobody.txt"], ["nobody.txt", "neither a number nor an existing file"]),
        (["--subjects", "0"], ["must be a number of patients (1 or more)"]),
        (["--trajectory-version", "../v1"], ["is not a valid folder name"]),
        (["--export", "ward:jsonl"], ["ward:jsonl", "patient", "jsonl"]),
        (["--config", "nowhere.toml"], ["nowhere.toml", "cannot read"]),
    ],
    ids=lambda o: " ".join(o) if o[0].startswith("--") else "",
)
def test_an_invalid_setting_is_refused(
    release: Path,
    tmp_path: Path,
    refused: Callable[..., subprocess.CompletedProcess[str]],
    options: list[str],
    complaint: list[str],
) -> None:
    version = [] if "--trajectory-version" in options else ["--trajectory-version", "v1"]
    result = refused("build", release, "--output", tmp_path / "out", *version, *options)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    for words in complaint:
        assert words in result.stderr
    assert not (tmp_path / "out" / "v1").exists()


def test_without_a_terminal_output_is_plain_and_stderr_has_only_progress(
    done: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    result, output = done
    # A machine that takes less than 10 s prints no line.
    assert all(re.match(r"\d\d:\d\d:\d\d [a-z ]+: ", text) for text in result.stderr.splitlines())
    for text in ("\x1b", "\r", "━"):
        assert text not in result.stdout + result.stderr
    assert f"dataset: {output / 'v1'}\n" in result.stdout


def test_the_summary_has_every_table_and_the_totals(
    done: tuple[subprocess.CompletedProcess[str], Path], handmade: ModuleType
) -> None:
    result, output = done
    ledger = pq.read_table(output / "v1" / "ledger.parquet").to_pylist()
    expected: dict[str, list[int]] = {}
    for line in ledger:
        if not re.match(r"\w+/d_", line["table"]):
            row = expected.setdefault(line["table"], [0] * 5)
            row[["read", "events", "rejected", "not_selected"].index(line["outcome"])] += line["rows"]
            row[4] += line["events"] or 0
    assert set(expected) == set(packaged("mimiciv").tables_of("patient"))
    expected["all"] = [sum(column) for column in zip(*expected.values(), strict=True)]
    first, _, _ = result.stdout.partition("reason for rejection")
    shown = {
        m[1]: [int(n.replace(",", "")) for n in m[2].split()] for m in re.finditer(r"^(\S+) +(\d[\d, ]+)$", first, re.M)
    }
    assert shown == expected
    for line in ledger:
        if line["outcome"] == "rejected":
            assert re.search(rf"^{line['table']} +{line['reason']} +{line['rows']:,}\s*$", result.stdout, re.M)
    assert f"8 patients, {expected['all'][4]:,} events" in result.stdout
    assert re.search(r"in [\d.]+ s, peak memory \d+ MB, \d+ kB on disk", result.stdout)
    assert f"rejected rows: {output / 'v1' / 'rejected'}" in result.stdout


def test_the_summary_agrees_with_the_manifest(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    result, output = done
    manifest = json.loads((output / "v1" / "manifest.json").read_text())
    assert manifest["shards"] > 2
    assert f"{manifest['summary']['patients']} patients, {manifest['summary']['events']} events" in result.stdout
    assert manifest["peak_memory_bytes"] > 50e6


def test_only_the_owner_can_read_the_dataset(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, output = done
    modes = {p: stat.S_IMODE(p.lstat().st_mode) for p in [output.parent, output, *output.rglob("*")]}
    assert len(modes) > 20
    for path, mode in modes.items():
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path}: {mode:o}"


def test_only_the_owner_can_read_the_working_folder(release: Path, tmp_path: Path) -> None:
    # The process is ended just before it publishes the dataset, so that the working folder is left behind.
    code = f"""
import os, sys
def hook(event, arguments):
    if event == "os.rename" and str(arguments[0]).endswith("/.v1.build/dataset"):
        os._exit(9)
sys.addaudithook(hook)
{SEVERAL_SHARDS}"""
    command = [sys.executable, "-c", code, "build", str(release), "--output", str(tmp_path / "out")]
    result = subprocess.run([*command, "--trajectory-version", "v1", "--max-cpus", "2"], timeout=60, umask=0o022)
    assert result.returncode == 9
    paths = list((tmp_path / "out" / ".v1.build").rglob("*"))
    assert len(paths) > 20
    for path in paths:
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def on_a_terminal(command: list[str]) -> tuple[int, str]:
    """Run a command whose standard streams are a terminal; return its exit code and what it printed."""
    controller, terminal = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM", "CI")} | {"TERM": "xterm"}
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, close_fds=True
    )
    os.close(terminal)
    shown, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([controller], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(controller, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(controller)
    return process.wait(timeout=10), shown.decode()


def test_on_a_terminal_progress_bars_are_shown(release: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ehrtraj", "build", str(release), "--output", str(tmp_path), "-t", "v1"]
    code, shown = on_a_terminal([*command, "--max-cpus", "1"])
    assert code == 0
    for words in ("\x1b[", "reading", "making events", "shard ", "8 patients"):
        assert words in shown, words


def test_a_library_call_prints_nothing(
    release: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], build_sized: Callable[..., ehrtraj.BuildResult]
) -> None:
    small = Sizes(shard_rows=4000)
    result = build_sized(small, release, tmp_path, "v1", max_cpus=2)
    again = build_sized(small, release, tmp_path, "v1", max_cpus=2)
    assert capfd.readouterr() == ("", "")
    assert (result.already_there, again.already_there) == (False, True)
    assert (result.patients, result.events) == (again.patients, again.events)
    assert result.path == tmp_path / "v1"


def test_a_library_call_does_not_change_the_umask(release: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        ehrtraj.build(release, tmp_path, "v1", max_cpus=1, tables="patients")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_with_clock_available_time_is_available_time(
    release: Path, built: Path, tmp_path: Path, read_events: Callable[[Path], pa.Table]
) -> None:
    result = ehrtraj_cli("build", release, "--output", tmp_path, "-t", "v1", "--clock", "available", "--max-cpus", 1)
    assert result.returncode == 0, result.stderr
    known, happened = read_events(tmp_path / "v1"), read_events(built)
    assert "event_time" not in happened.column_names
    assert known["time"].equals(known["available_time"])
    for path in (tmp_path / "v1" / "data").rglob("*.parquet"):
        rows = pq.read_table(path, columns=["subject_id", "time"]).to_pylist()
        order = [(r["subject_id"], r["time"] is not None, r["time"]) for r in rows]
        assert order == sorted(order, key=lambda r: (r[0], r[1], r[2].timestamp() if r[2] else 0))

    # The events are the same except for the clock: in the same order, all columns agree.
    columns = [c for c in happened.column_names if c != "time"]

    def in_order(events: pa.Table, time_column: str) -> list[tuple[Any, ...]]:
        rows = events.select([time_column, *columns]).to_pylist()
        return sorted((tuple(r.values()) for r in rows), key=repr)

    assert in_order(known, "event_time") == in_order(happened, "time")
    late = [r for r in known.to_pylist() if r["time"] != r["event_time"]]
    assert len(late) > 20


def test_profile_prints_the_cpu_time_of_each_step_and_table(release: Path, tmp_path: Path) -> None:
    arguments = ("build", release, "--output", tmp_path, "--trajectory-version", "v1", "--max-cpus", "1")
    lines = ehrtraj_cli(*arguments, "--profile").stdout.splitlines()
    shown = {m[1]: float(m[2]) for line in lines if (m := re.match(r"(\S+(?: \S+)*) {2,}([\d.]+) +\d+%", line))}
    assert {"parse", "run recipes", "convert to events", "write Parquet", "publish"} <= set(shown)
    assert len([name for name in shown if name in packaged("mimiciv").tables]) >= 5
    steps = sum(seconds for name, seconds in shown.items() if name in STEPS)
    assert steps == pytest.approx(shown["all measured steps"], abs=0.05 * len(STEPS))


def test_the_measured_steps_are_most_of_the_cpu_time_of_a_build(release: Path, tmp_path: Path) -> None:
    start = time.process_time()
    result = ehrtraj.build(release, tmp_path, "v1", max_cpus=1)
    total = time.process_time() - start
    measured = sum(result.cpu.values())
    assert total / 2 < measured < total
    assert {step for step, _ in result.cpu} <= set(STEPS)
