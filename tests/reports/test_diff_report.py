"""The report of the difference between two datasets."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.diffs.events import EventsDiff, Example
from ehrtraj.diffs.run import DiffReport
from ehrtraj.reports.run import diff_report

VALUE = "<b>a value of a patient</b>"


@pytest.fixture(scope="module")
def changed(crowded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crowded dataset with other numbers of events of some codes, without a code, and with another setting."""
    dataset = Path(shutil.copytree(crowded, tmp_path_factory.mktemp("changed") / "changed"))
    path = dataset / "metadata" / "codes.parquet"
    table = pq.read_table(path)
    codes = table.to_pylist()[1:]
    for code in codes[::3]:
        code["n_events"] = code["n_events"] * 3 + 7
    pq.write_table(pa.Table.from_pylist(codes, schema=table.schema), path)
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["contents"]["metadata/codes.parquet"]["bytes"] = path.stat().st_size
    manifest["fingerprint"]["settings"] |= {"seed": 3, "subjects": "7"}
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    return dataset


@pytest.fixture(scope="module")
def difference(crowded: Path, changed: Path) -> DiffReport:
    found = ehrtraj.diff(crowded, changed, max_cpus=1)
    event = {"subject_id": 10900116, "time": None, "code": "RACE//X", "source_table": "hosp/t", "source_key": 7}
    return replace(found, patients_a=(10900116, 10900598), events=some_events(0, event))


def some_events(more: int, event: dict[str, Any]) -> EventsDiff:
    """Return differences with counts that are larger by a number, within the same ten."""
    return EventsDiff(
        compared=1_234 + more,
        only_a=Counter({"hosp/labevents": 3 + more, "hosp/omr": 21 + more}),
        only_b=Counter({"hosp/omr": 4 + more}),
        changed=Counter({"hosp/labevents": 1_113 + more}),
        columns=Counter({("hosp/labevents", "unit"): 1_102 + more, ("hosp/labevents", "flags"): 2 + more}),
        patients=5 + more,
        reordered=14 + more,
        examples=[Example("changed", event, {"text_value": (VALUE, None)}), Example("only_a", event)],
    )


def page(difference: DiffReport, path: Path, *, with_examples: bool = False) -> bytes:
    return diff_report(difference, path, with_examples=with_examples).read_bytes()


def test_differences_are_masked(difference: DiffReport, tmp_path: Path, page_of: Callable[[bytes], Any]) -> None:
    content = page(difference, tmp_path / "diff.html")
    shown = page_of(content)
    assert {"<10", "0", "20", "1,110", "1,100", "1,230"} <= set(shown.counts)
    wrong = [n for n in shown.counts if n != "<10" and int(n.replace(",", "")) % 10]
    assert wrong == []
    rows = shown.tables["Inputs and settings that differ"]
    assert [row for row in rows if row[0] in ("seed", "subjects")] == [["subjects", "None", "<10"], ["seed", "0", "3"]]
    for text in (b"10900116", VALUE.encode(), b"&lt;b&gt;", str(difference.a.parent).encode()):
        assert text not in content


def test_differences_within_a_ten_look_the_same(difference: DiffReport, tmp_path: Path) -> None:
    content = page(difference, tmp_path / "diff.html")
    more = replace(difference, events=some_events(3, {}), patients_a=tuple(range(5)))
    assert page(more, tmp_path / "more.html") == content
    exact = page(difference, tmp_path / "exact.html", with_examples=True)
    more = replace(difference, events=replace(difference.events, compared=1_236))
    assert page(more, tmp_path / "more.html", with_examples=True) != exact


def test_codes_that_are_rare_in_either_dataset_are_not_named(
    difference: DiffReport, crowded: Path, changed: Path, tmp_path: Path
) -> None:
    rare = set()
    for dataset in (crowded, changed):
        rows = pq.read_table(dataset / "metadata" / "codes.parquet").to_pylist()
        rare |= {row["code"] for row in rows if min(row["n_events"], row["n_subjects"]) < 10}
    differing = set(difference.codes["code"])
    named, exact = (
        {code.decode() for code in re.findall(rb"<code>([A-Z_]+//[^<]+)</code>", content)}
        for content in (
            page(difference, tmp_path / "diff.html"),
            page(difference, tmp_path / "exact.html", with_examples=True),
        )
    )
    assert len(named) > 5
    assert named <= differing - rare
    assert rare & exact


def test_private_reports_show_the_first_differences(difference: DiffReport, tmp_path: Path) -> None:
    content = page(difference, tmp_path / "exact.html", with_examples=True).decode()
    for text in ("do not share", "10900116", "&lt;b&gt;a value of a patient&lt;/b&gt;", "1,234", "only in A"):
        assert text in content


def test_the_command_writes_a_page(built: Path, changed: Path, tmp_path: Path) -> None:
    path = tmp_path / "diff.html"
    done = CliRunner().invoke(app, ["diff", str(built), str(built), "--html", str(path), "--max-cpus", "1"])
    assert done.exit_code == 0
    assert "Both datasets contain the same patients" in path.read_text()
    done = CliRunner().invoke(app, ["diff", str(built), str(changed), "--html", str(path), "--max-cpus", "1"])
    assert done.exit_code == 1
    assert ">Different<" in path.read_text()
