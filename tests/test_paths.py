"""Unusable paths: locked folders, read-only targets, dangling links, names that are too long."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ehrtraj.errors import OutputError, ReleaseError
from ehrtraj.paths import error_of_path

LONG = "x" * 300

# Runs commands one after another in this process, and prints the output of each.
DRIVER = """
import io, json, sys
from ehrtraj.cli import run
for name, arguments in json.load(sys.stdin).items():
    out, err, streams = io.StringIO(), io.StringIO(), (sys.stdout, sys.stderr)
    sys.argv, sys.stdout, sys.stderr = ["ehrtraj", *arguments], out, err
    try:
        run.run()
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout, sys.stderr = streams
    print(json.dumps([name, code, out.getvalue(), err.getvalue()]))
"""

# Each unusable path in each command. {d} is the dataset, {r} the release, {o} an unused output.
READ = ("locked", "locked/inside", "dangling", "loop", LONG, "file/inside")
WRITE = (
    "locked/inside",
    "readonly/inside",
    "dangling/inside",
    "loop/inside",
    f"{LONG}",
    f"{LONG}/inside",
    "file/inside",
)
DATASETS = (*READ, "locked-files", "locked-data", "locked-metadata")
RELEASES = (*READ, "locked-release", "locked-table")

# Paths that typer rejects are usage errors: it checks whether an existing folder can be read.
SHUT = {2, 7}

CASES: dict[str, tuple[set[int], list[str]]] = {}
for path in DATASETS:
    CASES |= {
        f"check {path}": (SHUT if path in READ else {1, 3, 7}, ["check", path, "--max-cpus", "1"]),
        f"diff {path}": (SHUT, ["diff", "{d}", path, "--max-cpus", "1"]),
        f"show {path}": (SHUT, ["show", path, "10900116"]),
        f"info {path}": ({0, *SHUT}, ["info", path]),
        f"codes {path}": ({0, *SHUT}, ["codes", path]),
        f"explain {path}": (SHUT, ["explain", path, "10900116"]),
        f"label {path}": (SHUT, ["label", path, "in_hospital_mortality", "-o", "{o}", "--overwrite"]),
        f"export {path}": (SHUT, ["export", path, "-o", "{o}", "--max-cpus", "1"]),
        f"rules applied {path}": ({0, *SHUT}, ["rules", "applied", path]),
    }
for path in RELEASES:
    CASES |= {
        f"build {path}": ({3, 4}, ["build", path, "-o", "{o}", "-t", "v1", "--max-cpus", "1"]),
        f"build --ed {path}": ({2, 3, 4}, ["build", "{r}", "--ed", path, "-o", "{o}", "-t", "v1", "--max-cpus", "1"]),
        f"plan {path}": ({2, 3, 4}, ["plan", path]),
        f"verify {path}": ({2, 3, 4, 20}, ["verify", path]),
        f"explain --release {path}": ({0, 2, 3, 4}, ["explain", "{d}", "10900116", "--limit", "3", "--release", path]),
    }
for path in READ:
    build = ["build", "{r}", "-o", "{o}", "-t", "v1", "--max-cpus", "1"]
    view = ["view", "--no-browser", "--port", "0"]
    CASES |= {
        f"view {path}": (SHUT, [*view, path]),
        f"view --cohort {path}": ({2}, [*view, "{d}", "--cohort", path]),
        f"view --labels {path}": ({2}, [*view, "{d}", "--labels", path]),
        f"build --config {path}": ({2}, [*build, "--config", path]),
        f"build --subjects {path}": ({2, 3, 4}, [*build, "--subjects", path]),
        f"build --overlay {path}": ({2, 3, 4, 5}, [*build, "--overlay", path]),
        f"build --source {path}": ({2, 3, 4, 5}, [*build, "--source", path]),
        f"build --gem {path}": ({2, 3, 4}, [*build, "--gem", path]),
        f"build --vocabulary {path}": ({2, 3, 4}, [*build, "--vocabulary", path]),
        f"build --concept-maps {path}": ({2, 3, 4}, [*build, "--concept-maps", path]),
        f"check --log-file {path}": ({2, 3, 4}, ["check", "{d}", "--log-file", path]),
        f"export --subjects {path}": ({2, 3, 4}, ["export", "{d}", "-o", "{o}", "--subjects", path]),
        f"label task {path}": ({2, 3, 4}, ["label", "{d}", f"{path}.yaml", "-o", "{o}"]),
        f"rules list {path}": ({2, 3, 4}, ["rules", "list", "--overlay", path]),
        f"rules docs {path}": ({2, 3, 4}, ["rules", "docs", "--overlay", path]),
        f"rules explain {path}": ({2, 3, 4}, ["rules", "explain", "50912", "--overlay", path]),
        f"tables {path}": ({2, 3, 4}, ["tables", "--overlay", path]),
        f"tasks {path}": ({2}, ["tasks", path]),
    }
for path in (*WRITE, "readonly", "dangling", "loop", "file"):
    CASES |= {
        f"build -o {path}": ({4}, ["build", "{r}", "-o", path, "-t", "v1", "--max-cpus", "1"]),
        f"export -o {path}": ({4}, ["export", "{d}", "-o", path, "--max-cpus", "1"]),
        f"label -o {path}": ({4}, ["label", "{d}", "in_hospital_mortality", "-o", path]),
        # This command contacts the server first.
        f"download --to {path}": (
            {2, 3, 4, 10},
            ["download", "mimic-iv-demo", "--to", path, "--base-url", "http://127.0.0.1:9", "--retries", "0"],
        ),
    }
    if path != "readonly":  # an empty folder, which these commands may replace
        CASES |= {
            f"synth {path}": ({4}, ["synth", path, "-n", "1", "--max-cpus", "1"]),
            f"demo {path}": ({3, 4}, ["demo", path, "-n", "1", "--max-cpus", "1"]),
        }
del CASES["build --ed locked-table"]  # the locked table does not belong to this module
CASES |= {
    "build long version": ({2}, ["build", "{r}", "-o", "{o}", "-t", LONG]),
    "build version of 201 letters": ({2}, ["build", "{r}", "-o", "{o}", "-t", "x" * 201]),
}


def close(path: Path, mode: int = 0) -> None:
    path.chmod(mode)


@pytest.fixture(scope="module")
def place(release: Path, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with every unusable path. Permissions are restored at the end, so that it can be removed."""
    root = tmp_path_factory.mktemp("paths")
    (root / "locked" / "inside").mkdir(parents=True)
    (root / "readonly").mkdir()
    (root / "file").write_text("x")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    for name in ("locked-files", "locked-data", "locked-metadata"):
        shutil.copytree(built, root / name)
    for name in ("locked-release", "locked-table"):
        shutil.copytree(release, root / name)
    closed = [
        root / "locked",
        *(root / "locked-files" / "data").rglob("*.parquet"),
        root / "locked-data" / "data",
        root / "locked-metadata" / "metadata",
        root / "locked-release" / "hosp",
        root / "locked-table" / "hosp" / "labevents.csv.gz",
    ]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in closed}
    for path in closed:
        close(path)
    close(root / "readonly", 0o555)
    yield root
    for path, mode in modes.items():
        path.chmod(mode)


def bound() -> list[str]:
    """Return a prefix that runs a command as a user to whom file modes apply, since they do not apply to root."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may read everything, and setpriv is not installed to drop this privilege")
    capabilities = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]


@pytest.fixture(scope="module")
def outcomes(place: Path, release: Path, built: Path) -> dict[str, tuple[int, str, str]]:
    """Return exit code, stdout and stderr of each case."""
    filled = {
        name: [
            argument.format(d=built, r=release, o=f"out/{number}") if "{" in argument else argument
            for argument in arguments
        ]
        for number, (name, (_, arguments)) in enumerate(CASES.items())
    }
    done = subprocess.run(
        [*bound(), sys.executable, "-c", DRIVER],
        input=json.dumps(filled), capture_output=True, text=True, timeout=300, check=True, cwd=place,
    )  # fmt: skip
    found = {}
    for line in done.stdout.splitlines():
        name, code, out, err = json.loads(line)
        found[name] = (code, out, err)
    return found


@pytest.mark.parametrize("name", CASES, ids=lambda name: name.replace(LONG, "long"))
def test_a_path_that_cannot_be_used_gives_a_message(outcomes: dict[str, tuple[int, str, str]], name: str) -> None:
    codes, _ = CASES[name]
    code, out, err = outcomes[name]
    assert "Traceback" not in err, err
    assert code in codes, f"{code}: {out}{err}"
    first, *rest = [line for line in err.splitlines() if not line.startswith(("note: ", "WARNING: "))] or [""]
    if code in (0, 1):
        assert name.startswith(("info", "codes", "rules applied", "explain --release", "check locked-")), out
    else:
        assert first.startswith("error: "), err
        assert all(line.startswith("  ") for line in rest), err


def test_unusable_paths_create_nothing(outcomes: dict[str, tuple[int, str, str]], place: Path) -> None:
    assert (place / "dangling").readlink() == Path("nowhere")
    assert not (place / "nowhere").exists()
    assert list((place / "readonly").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, OutputError, "is full"),
        (errno.EROFS, OutputError, "cannot write .*: Read-only file system"),
        (errno.EIO, ReleaseError, "cannot read .*: Input/output error"),
        (errno.ENAMETOOLONG, OutputError, "shorter name"),
        (errno.EMFILE, OutputError, "ulimit -n"),
    ],
)
def test_system_errors_become_ehrtraj_errors(tmp_path: Path, number: int, kind: type[Exception], words: str) -> None:
    error = error_of_path(OSError(number, os.strerror(number), str(tmp_path)))
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTEMPTY])
def test_a_folder_that_cannot_be_removed_is_part_of_the_output(tmp_path: Path, number: int) -> None:
    """The error of rmtree names only the last part of its path."""
    error = error_of_path(OSError(number, os.strerror(number), "hosp.admissions"), tmp_path)
    assert type(error) is OutputError
    assert "cannot write hosp.admissions" in str(error)
    assert "run the same command again" in str(error)


def test_an_error_that_is_not_about_files_is_unchanged() -> None:
    assert error_of_path(OSError(errno.ECHILD, "No child processes")) is None
    assert error_of_path(OSError("something else")) is None
