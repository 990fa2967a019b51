"""Each format of exports is one file, which the rest of the program discovers."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ehrtraj
from ehrtraj.errors import OutputError, SettingsError
from ehrtraj.exports import formats, text
from ehrtraj.exports.format import Format
from ehrtraj.exports.units import folder_of

TOY = '''
"""A line about the columns, then one JSON object per event."""

from ehrtraj.exports.lines import json_lines
from ehrtraj.exports.parse import events_of_objects
from ehrtraj.exports.text import TextFormat


def _read(file):
    first, *lines = file.read_text("utf-8").split("\\n")
    assert first.startswith("toy of ")
    return events_of_objects(lines[:-1])


FORMAT = TextFormat(
    title="Toy",
    ending="toy.jsonl",
    lines=lambda rows, job: json_lines(rows, job.flags, "\\n"),
    opening=lambda names, unit: f"toy of {len(names)} columns\\n".encode(),
    read=_read,
    single=True,
    spreadsheet=True,
)
'''
WITH_TOY = """
import sys
from ehrtraj.exports import formats
formats.__path__.append(sys.argv.pop(1))
from ehrtraj.cli import main
main()
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the file of a new format, which is registered in this process."""
    folder = tmp_path / "formats"
    folder.mkdir()
    (folder / "toy.py").write_text(TOY)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, f"{formats.__name__}.toy", raising=False)
    return folder


@pytest.fixture
def several(several_shards_built: Path) -> ehrtraj.Dataset:
    """The hand-made release in several shards."""
    return ehrtraj.open(several_shards_built)


def with_toy(toy: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITH_TOY, str(toy), *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_every_format_is_declared() -> None:
    """A file in `formats/` without a complete `FORMAT` fails here, not in a user's export."""
    known = formats.load_all()
    assert tuple(known) == formats.names()
    assert formats.names()[0] == formats.DEFAULT
    assert known[formats.DEFAULT_SINGLE].single
    assert all(isinstance(form, Format) for form in known.values())
    assert len({form.ending for form in known.values()}) == len(known), "the ending of a file identifies its format"


@pytest.mark.parametrize("per", ["patient", "admission", "shard"])
def test_a_new_format_is_written_and_read_back(toy: Path, several: ehrtraj.Dataset, tmp_path: Path, per: str) -> None:
    result = ehrtraj.export(several, tmp_path / "out", per=per, format="toy", max_cpus=1)  # type: ignore[arg-type]
    paths = sorted((tmp_path / "out").rglob("*.toy.jsonl"))
    assert len(paths) == result.files
    assert all(path.read_text("utf-8").startswith("toy of 17 columns\n") for path in paths)
    assert sum(ehrtraj.read_export(path).height for path in paths) == several.scan().collect().height
    assert json.loads((tmp_path / "out" / "export.json").read_text())["format"] == "toy"
    if per == "patient":
        for subject_id in several:
            path = tmp_path / "out" / folder_of(subject_id) / f"p{subject_id}.toy.jsonl"
            assert ehrtraj.read_export(path).equals(several[subject_id].events)


def test_an_export_in_a_new_format_resumes(
    toy: Path, several: ehrtraj.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remaining_writes = iter(range(5))
    real = os.write

    def full(handle: int, piece: bytes) -> int:
        if next(remaining_writes, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, piece)

    with monkeypatch.context() as patch:
        patch.setattr(text.os, "write", full)
        with pytest.raises(OutputError, match="is full"):
            ehrtraj.export(several, tmp_path / "out", format="toy", max_cpus=1)
    again = ehrtraj.export(several, tmp_path / "out", format="toy", max_cpus=1)
    assert (again.resumed, again.files) == (True, 8)
    assert ehrtraj.export(several, tmp_path / "out", format="toy").already_there


def test_a_new_format_supports_the_options_that_it_declares(
    toy: Path, several: ehrtraj.Dataset, tmp_path: Path
) -> None:
    one = ehrtraj.export(several, tmp_path / "one", format="toy", single=True)
    assert (one.files, one.events) == (1, several.scan().collect().height)
    assert ehrtraj.read_export(tmp_path / "one" / "events.toy.jsonl").equals(several.scan().collect())
    replaced = ehrtraj.export(several, tmp_path / "one", single=True, overwrite=True)
    assert replaced.files == 1
    assert not (tmp_path / "one" / "events.toy.jsonl").exists()
    ehrtraj.export(several, tmp_path / "sheets", format="toy", excel=True)
    with pytest.raises(SettingsError, match="--excel applies only to CSV or Toy: add --format csv or toy"):
        ehrtraj.export(several, tmp_path / "other", format="jsonl", excel=True)


def test_the_command_line_knows_a_new_format(
    toy: Path, release: Path, several: ehrtraj.Dataset, tmp_path: Path
) -> None:
    assert "jsonl, csv, json, parquet or toy. (default jsonl)" in with_toy(toy, "export", "--help").stdout
    wrong = with_toy(toy, "export", several.path, "-o", tmp_path / "out", "--format", "doll")
    assert (wrong.returncode, "jsonl, csv, json, parquet, toy" in wrong.stderr) == (2, True)
    options = ("-o", tmp_path, "-t", "v1", "--max-cpus", 1, "--export", "patient:toy")
    built = with_toy(toy, "build", release, *options)
    assert built.returncode == 0, built.stderr
    assert len(list((tmp_path / "v1-patient-toy").rglob("*.toy.jsonl"))) == 8


def test_listing_formats_imports_none() -> None:
    """The help of the command line lists the formats, and must be printed without delay."""
    code = (
        "import sys; from ehrtraj.exports.formats import names; names(); print({'pyarrow', 'polars'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
