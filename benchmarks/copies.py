"""Multiply a small release: disjoint copies of every patient, in the same tables and columns.

    python benchmarks/copies.py RELEASE OUT [--copies 40]

Copy k adds k times a constant to each identifier of a patient, admission, stay, order or row, so no two copies share
one. Dictionaries are copied once. Rows are ordered by subject_id, as in a full release of MIMIC-IV. Within a
patient they keep the order of RELEASE. Use the result to measure speed, memory and disk: its content is repeated, so
nothing about medicine can be learned from it.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb

PATIENT = "subject_id"
# One constant for all of them, because some have the same numbers: an emergency stay that of its row in transfers.
NUMBERS = (
    *("hadm_id", "stay_id", "transfer_id", "labevent_id", "specimen_id", "microevent_id", "micro_specimen_id"),
    *("pharmacy_id", "orderid", "linkorderid"),
)
BEGIN_WITH_PATIENT = ("poe_id", "emar_id", "discontinue_of_poe_id", "discontinued_by_poe_id", "note_id")
"""Identifiers such as `10000032-57`."""
_CSV = """header = true, all_varchar = true, delim = ',', quote = '"', escape = '"', allow_quoted_nulls = false"""
_GZIP_LEVEL = 6  # as the files of PhysioNet


@dataclass(frozen=True)
class Shifts:
    """What each copy adds to the identifiers of the one before.

    Attributes:
        patient: added to subject_id.
        number: added to every other identifier.
    """

    patient: int
    number: int

    def expression(self, column: str, copy: int) -> str:
        """Return the SQL expression of a column in a copy."""
        if column == PATIENT:
            return f'CAST("{column}" AS BIGINT) + {copy * self.patient} AS "{column}"'
        if column in NUMBERS:
            return f'CAST("{column}" AS BIGINT) + {copy * self.number} AS "{column}"'
        if column in BEGIN_WITH_PATIENT:
            patient = f"""split_part("{column}", '-', 1)"""
            moved = f"(CAST({patient} AS BIGINT) + {copy * self.patient})::VARCHAR"
            return f'{moved} || substr("{column}", length({patient}) + 1) AS "{column}"'
        return f'"{column}"'


def _files(release: Path) -> list[Path]:
    return sorted(release.glob("*/*.csv")) + sorted(release.glob("*/*.csv.gz"))


def _load(path: Path) -> tuple[duckdb.DuckDBPyConnection, list[str]]:
    """Return a database with the rows of a file in the table `source`, and the columns."""
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"CREATE TABLE source AS FROM read_csv(?, {_CSV})", [str(path)])
    return connection, [row[0] for row in connection.execute("DESCRIBE source").fetchall()]


def _ranges(path: Path) -> dict[str, tuple[int, int]]:
    """Return the smallest and largest number of each identifier in a file."""
    connection, columns = _load(path)
    numbers = [column for column in columns if column == PATIENT or column in NUMBERS]
    found = {}
    with connection:
        for column in numbers:
            number = f'CAST("{column}" AS BIGINT)'
            rows = connection.execute(f"SELECT min({number}), max({number}) FROM source").fetchall()
            if rows[0][0] is not None:
                found[column] = rows[0]
    return found


def _power_above_width(ranges: Iterable[tuple[int, int]]) -> int:
    """Return the smallest power of ten that is larger than the distance between any two numbers."""
    lows, highs = zip(*ranges, strict=True)
    width: int = max(highs) - min(lows)
    return int(10 ** len(str(width)))


def find_shifts(found: Iterable[dict[str, tuple[int, int]]]) -> Shifts:
    """Return shifts that keep the copies of all files apart, given the ranges that `_ranges` found in each file."""
    pairs = [pair for ranges in found for pair in ranges.items()]
    return Shifts(
        patient=_power_above_width(limits for column, limits in pairs if column == PATIENT),
        number=_power_above_width(limits for column, limits in pairs if column != PATIENT),
    )


def _multiply_file(path: Path, to: Path, copies: int, shifts: Shifts) -> None:
    connection, columns = _load(path)
    with connection:
        if PATIENT not in columns:
            shutil.copyfile(path, to / path.name)
            return
        order = f"CAST({PATIENT} AS BIGINT), rowid"
        connection.execute(f"CREATE TABLE ordered AS SELECT * FROM source ORDER BY {order}")
        name = path.name.removesuffix(".gz")
        part = to / f"{name}.part"
        with gzip.GzipFile(to / f"{name}.gz", "wb", _GZIP_LEVEL, mtime=0) as out:
            for copy in range(copies):
                selected = ", ".join(shifts.expression(column, copy) for column in columns)
                header = "true" if copy == 0 else "false"
                connection.execute(f"COPY (SELECT {selected} FROM ordered) TO '{part}' (FORMAT csv, HEADER {header})")
                with part.open("rb") as lines:
                    shutil.copyfileobj(lines, out, 1 << 20)
        part.unlink()


def multiply(release: Path, to: Path, copies: int) -> Path:
    """Write a release with several copies of each patient, unless it exists. Return its folder.

    Args:
        release: folder with modules such as `hosp/` and `icu/`.
        to: folder to write.
        copies: number of copies, including the first, which has the identifiers of `release`.
    """
    if to.is_dir():
        return to
    files = _files(release)
    if not files:
        raise SystemExit(f"{release} contains no module with .csv or .csv.gz files")
    unfinished = to.with_name(f"{to.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    # gzip takes most of the time, and releases the interpreter's lock.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        shifts = find_shifts(threads.map(_ranges, files))
        for path in files:
            (unfinished / path.parent.name).mkdir(parents=True, exist_ok=True)
        largest_first = sorted(files, key=lambda path: path.stat().st_size, reverse=True)
        list(threads.map(lambda p: _multiply_file(p, unfinished / p.parent.name, copies, shifts), largest_first))
    unfinished.rename(to)
    return to


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path, metavar="RELEASE")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--copies", type=int, default=40)
    arguments = parser.parse_args()
    print(multiply(arguments.release, arguments.out, arguments.copies))


if __name__ == "__main__":
    main()
