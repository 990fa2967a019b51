"""Staged files are read as they were written, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from ehrtraj.errors import OutputError
from ehrtraj.pipeline.stage.staged import StagedFile, read_staged
from ehrtraj.pipeline.stage.table import _write
from ehrtraj.storage.local import LocalStorage

ROWS = pa.table({"subject_id": list(range(5_000)), "curr_service": [f"service {n}" for n in range(5_000)]})


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: bytes(len(data)),
        lambda data: data[:400] + bytes(len(data) - 400),
        lambda data: data[:2_000] + b"\xff" * 3_000 + data[5_000:],
    ],
    ids=["zeros", "zeros after the start", "garbage in the middle"],
)
def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    storage = LocalStorage(tmp_path / ".v1.build")
    name, size = _write(storage, "stage/hosp.services", "00000-00000.arrow", [ROWS])
    file = StagedFile(f"stage/hosp.services/{name}", size)
    assert read_staged(storage, [file], ROWS.schema) == ROWS
    path = storage.root / file.name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        OutputError, match=r"00000\.arrow is damaged, .* Delete .*/\.v1\.build and run the same command"
    ):
        read_staged(storage, [file], ROWS.schema)
