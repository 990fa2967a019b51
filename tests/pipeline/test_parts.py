"""A shard is divided into parts of whole patients, which depend only on the rows of its large tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ehrtraj.pipeline.shard.parts import Part, divide

TABLES = ("chart", "labs")
SUBJECTS = st.lists(st.integers(0, 12), max_size=60).map(sorted)
CUTS = st.lists(st.integers(0, 60), max_size=8).map(sorted)


def in_pieces(subjects: list[int], cuts: list[int]) -> Iterator[pa.Table]:
    """Yield the rows of a table in several tables."""
    rows = pa.table({"subject_id": pa.array(subjects, pa.int64()), "row": pa.array(range(len(subjects)), pa.int64())})
    bounds = [0, *(cut for cut in cuts if cut <= len(subjects)), len(subjects)]
    for start, stop in itertools.pairwise(bounds):
        yield rows.slice(start, stop - start)


def parts_of(tables: dict[str, list[int]], cuts: dict[str, list[int]], rows_of_part: int) -> list[Part]:
    return list(divide(TABLES, lambda name: in_pieces(tables[name], cuts[name]), rows_of_part))


def content(parts: list[Part]) -> list[tuple[int | None, dict[str, list[int]]]]:
    return [(part.last_subject, {name: rows["row"].to_pylist() for name, rows in part.rows.items()}) for part in parts]


def patients(part: Part) -> set[int]:
    return {subject for rows in part.rows.values() for subject in rows["subject_id"].to_pylist()}


@given(chart=SUBJECTS, labs=SUBJECTS, one=CUTS, other=CUTS, rows_of_part=st.integers(1, 40))
def test_parts_consist_of_whole_patients_in_order(
    chart: list[int], labs: list[int], one: list[int], other: list[int], rows_of_part: int
) -> None:
    tables = {"chart": chart, "labs": labs}
    parts = parts_of(tables, {"chart": one, "labs": other}, rows_of_part)
    for name, subjects in tables.items():
        assert [row for part in parts for row in part.rows[name]["row"].to_pylist()] == list(range(len(subjects)))
    assert [part.last_subject is None for part in parts] == [False] * (len(parts) - 1) + [True]
    for part, following in itertools.pairwise(parts):
        assert part.last_subject == max(patients(part))
        assert part.last_subject < min(patients(following))
        rows = {subject: (chart + labs).count(subject) for subject in patients(part)}
        assert sum(rows.values()) >= rows_of_part > sum(rows.values()) - rows[part.last_subject]
    if len(parts) > 1:
        assert sum(len(rows) for rows in parts[-1].rows.values()) >= rows_of_part // 2


@given(chart=SUBJECTS, labs=SUBJECTS, one=CUTS, other=CUTS, rows_of_part=st.integers(1, 40))
def test_parts_do_not_depend_on_how_the_rows_are_read(
    chart: list[int], labs: list[int], one: list[int], other: list[int], rows_of_part: int
) -> None:
    """Otherwise the files would differ between builds that stage a table and builds that cut it into slices."""
    tables = {"chart": chart, "labs": labs}
    in_one = parts_of(tables, {"chart": [], "labs": []}, rows_of_part)
    assert content(parts_of(tables, {"chart": one, "labs": other}, rows_of_part)) == content(in_one)
