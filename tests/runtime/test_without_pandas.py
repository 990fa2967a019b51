"""Commands and workers do without pandas, whether it is installed or not; a program that uses the library keeps it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import ehrtraj
from ehrtraj.runtime.processes import stream_tasks

# Not importorskip: the workers import this module, too.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new processes find this module and its tasks through an inherited path."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])


# A command that converts values with pyarrow, in this process.
COMMAND = """
import sys
from ehrtraj.cli import main
sys.argv = ["ehrtraj", "report", *sys.argv[1:]]
try:
    main()
finally:
    import pyarrow
    pyarrow.array([1])
    print("pandas" in sys.modules, "pyarrow" in sys.modules)
"""
ASKS = """
import importlib.util, sys
import polars
from ehrtraj.runtime.without_pandas import keep_pandas_out
keep_pandas_out()
assert importlib.util.find_spec("pandas") is not None
try:
    import pandas
except ModuleNotFoundError as error:
    print(error)
import pyarrow, polars
print(pyarrow.array([1]).sum(), polars.Series([1]).to_arrow().sum(), "pandas" in sys.modules)
"""


def test_a_command_does_not_import_pandas(built: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", COMMAND, built, "-o", tmp_path / "report.html"]
    ran = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines()[-1] == "False True"


def test_libraries_cope_with_its_absence() -> None:
    ran = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines() == ["pandas is not used in this process", "1 1 False"]


def has_pandas() -> bool:
    import pyarrow as pa

    pa.array([1])
    return "pandas" in sys.modules


def test_workers_do_not_import_pandas() -> None:
    results = [result for _, result in stream_tasks(has_pandas, ((number, ()) for number in range(2)), 2)]
    assert results == [False, False]


def test_a_program_that_uses_the_library_keeps_pandas(built: Path) -> None:
    assert ehrtraj.open(built).sql("SELECT count(*) AS n FROM events").to_pandas()["n"].sum() > 0
