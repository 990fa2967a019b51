"""The report of a dataset: its content, and that it can be shared."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import stat
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.reports import run
from ehrtraj.reports.run import build_report

NUMBER = re.compile(r"\d[\d,.]*\d|\d")
MASKED = "<10"
EXAMPLE = "a value of a patient"


@pytest.fixture(scope="module")
def shared(crowded: Path) -> bytes:
    return build_report(crowded)


@pytest.fixture(scope="module")
def private(crowded: Path) -> bytes:
    return build_report(crowded, with_examples=True)


def is_masked(text: str) -> bool:
    """Return whether a text is a count that may be shown."""
    if text in ("", MASKED, "not shown", "some"):
        return True
    factor = {"k": 1000, "M": 10**6, "G": 10**9}.get(text[-1], 1)
    return round(float(text.rstrip("kMG").replace(",", "")) * factor) % 10 == 0


@pytest.mark.parametrize("name", ["built", "crowded", "enriched"])
def test_every_count_is_masked(name: str, request: pytest.FixtureRequest, page_of: Callable[[bytes], Any]) -> None:
    page = page_of(build_report(request.getfixturevalue(name)))
    assert len(page.counts) > 300
    assert MASKED in page.counts
    assert [count for count in page.counts if not is_masked(count)] == []
    # Other texts contain no number of another form, also not in the titles of the diagram.
    others = [(tags, text) for tags, text in page.texts if not re.search(r"\b(code|h3)\b", tags)]
    assert any("title" in tags and "rows" in text for tags, text in others)
    wrong = [text for _, text in others for number in NUMBER.findall(text) if not is_masked(number.rstrip(".,"))]
    assert wrong == []


def test_counts_of_private_reports_are_exact(private: bytes, crowded: Path, page_of: Callable[[bytes], Any]) -> None:
    page = page_of(private)
    ledger = pq.read_table(crowded / "ledger.parquet").to_pylist()
    rejected = sorted(f"{line['rows']:,}" for line in ledger if line["outcome"] == "rejected")
    assert sorted(row[2] for row in page.tables["Rejected rows by table and reason"][1:]) == rejected
    assert MASKED not in page.counts
    assert not all(is_masked(count) for count in page.counts)


# What a reader can conclude ------------------------------------------------------------------------------------------

CHANGED = {
    "ledger.parquet": (("table", "outcome"), ("rows",)),
    "rules_applied.parquet": (("rule",), ("events",)),
    "tallies/numbers.parquet": (("code",), ("before", "after")),
    "tallies/times.parquet": (("event_type",), ("events",)),
    "metadata/codes.parquet": (("event_type", "n_subjects"), ("n_events",)),
}
"""Columns of counts, and the columns that divide the rows into groups. Sums of groups do not change."""


def may_move(value: int) -> bool:
    """Return whether a count can be changed by one without being shown differently."""
    return 2 <= value % 10 <= 8


def move_counts(rows: list[dict[str, Any]], by: Sequence[str], column: str, dice: random.Random) -> int:
    """Move one from one count to another, in as many pairs of rows of a group as possible. Return their number."""
    groups = defaultdict(list)
    for row in rows:
        if row[column] and may_move(row[column]):
            # Small counts are changed with small ones: a bin of few numbers is not on the axis.
            groups[(*(str(row[name]) for name in by), row[column] < 10)].append(row)
    moved = 0
    for group in groups.values():
        dice.shuffle(group)
        for one, other in zip(group[::2], group[1::2], strict=False):
            one[column] += 1
            other[column] -= 1
            moved += 1
    return moved


@pytest.mark.parametrize("name", CHANGED)
def test_counts_of_the_same_ten_look_the_same(name: str, crowded: Path, shared: bytes, tmp_path: Path) -> None:
    """The bytes of the report, with all lengths and orders in it, do not depend on the exact counts."""
    copy = Path(shutil.copytree(crowded, tmp_path / "crowded"))
    table = pq.read_table(copy / name)
    rows, dice = table.to_pylist(), random.Random(3)
    by, columns = CHANGED[name]
    for column in columns:
        if name == "metadata/codes.parquet":
            for row in rows:
                row["has_parent"] = bool(row["parent_codes"])
            by = ("event_type", "has_parent")
        elif name == "tallies/numbers.parquet":
            # Removed numbers are the difference of the two columns, and bins at the end may be outside of the axis.
            by = ("code", "place")
            mark_places(rows)
        assert move_counts(rows, by, column, dice) > 5
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), copy / name)
    assert build_report(copy) == shared
    # The events of codes are shown only as sums.
    is_exact = name != "metadata/codes.parquet"
    assert (build_report(copy, with_examples=True) != build_report(crowded, with_examples=True)) is is_exact


def mark_places(rows: list[dict[str, Any]]) -> None:
    """Mark each bin as inside or outside of the axis, which ends at bins with at least 10 numbers."""
    by_code = defaultdict(list)
    for row in rows:
        by_code[row["code"]].append(row)
    for bins in by_code.values():
        bins.sort(key=lambda row: row["low"])
        enough = [n for n, row in enumerate(bins) if max(row["before"], row["after"]) >= 10]
        for n, row in enumerate(bins):
            is_inside = bool(enough) and enough[0] <= n <= enough[-1]
            row["place"] = (is_inside, (row["before"] == row["after"]))


Interval = tuple[float, float]


def interval(text: str) -> Interval:
    """Return what a reader knows about a count."""
    if text == MASKED:
        return 1, 9
    if text == "not shown":
        return 0, float("inf")
    number = int(text.replace(",", ""))
    return (number, number + 9) if number else (0, 0)


def narrow(cells: dict[Any, Interval], total: Any, parts: Sequence[Any]) -> None:
    """Narrow the intervals of the parts of a total, and of the total itself."""
    low, high = cells[total]
    sums = [sum(cells[part][end] for part in parts) for end in (0, 1)]
    cells[total] = (max(low, sums[0]), min(high, sums[1]))
    for part in parts:
        others = [sums[end] - cells[part][end] if sums[1] != float("inf") else float("inf") for end in (0, 1)]
        others[0] = sums[0] - cells[part][0]
        cells[part] = (max(cells[part][0], low - others[1]), min(cells[part][1], high - others[0]))


@pytest.mark.parametrize("name", ["built", "crowded", "enriched"])
def test_no_masked_count_follows_from_a_table(
    name: str, request: pytest.FixtureRequest, page_of: Callable[[bytes], Any]
) -> None:
    """With all sums of the ledger together, at least five values remain possible for each masked count."""
    page = page_of(build_report(request.getfixturevalue(name)))
    (caption,) = (caption for caption in page.tables if caption.startswith("Rows read ="))
    head, *rows = page.tables[caption]
    cells = {
        (row[0], column): interval(text)
        for row in rows
        for column, text in zip(head, row, strict=True)
        if column not in ("table", "size")
    }
    kinds = ("became events", "describe codes", "left out", "rejected")
    names = [row[0] for row in rows]
    reasons = defaultdict(list)
    for table, reason, text in page.tables["Rejected rows by table and reason"][1:]:
        cells[table, reason] = interval(text)
        reasons[table].append((table, reason))
    masked = [key for key, known in cells.items() if known == (1, 9)]
    assert len(masked) > 10
    for _ in range(50):
        before = dict(cells)
        for table in names:
            narrow(cells, (table, "rows read"), [(table, kind) for kind in kinds])
        for table, parts in reasons.items():
            narrow(cells, (table, "rejected"), parts)
        for column in (*kinds, "rows read", "events"):
            narrow(cells, ("all tables", column), [(table, column) for table in names if table != "all tables"])
        if cells == before:
            break
    assert {key: cells[key] for key in masked if cells[key][1] - cells[key][0] < 4} == {}


@pytest.mark.parametrize("caption", ["Events by rule", "Events and codes by event type"])
def test_a_number_of_codes_does_not_narrow_a_masked_count(
    crowded: Path, shared: bytes, page_of: Callable[[bytes], Any], caption: str
) -> None:
    """Each code has at least one event."""
    ((head, *rows),) = (rows for name, rows in page_of(shared).tables.items() if name.startswith(caption))
    columns = {name: head.index(name) for name in ("events", "codes")}
    shown = [(row[columns["events"]], row[columns["codes"]]) for row in rows]
    masked = [codes for events, codes in shown if events in (MASKED, "not shown")]
    assert all(codes in (MASKED, "not shown") for codes in masked)
    assert any(codes.isdecimal() for _, codes in shown)
    assert masked or caption == "Events by rule"


def test_rare_codes_are_not_named(crowded: Path, shared: bytes, private: bytes) -> None:
    codes = pq.read_table(crowded / "metadata" / "codes.parquet").to_pylist()
    binned = set(pq.read_table(crowded / "tallies" / "numbers.parquet")["code"].to_pylist())
    rare = {c["code"] for c in codes if min(c["n_events"], c["n_subjects"]) < 10}
    named = {code.decode() for code in re.findall(rb"<code>([A-Z_]+//[^<]+)</code>", shared)}
    assert len(named) > 20
    assert not rare & named
    assert rare & binned & {code.decode() for code in re.findall(rb"<code>([A-Z_]+//[^<]+)</code>", private)}


def test_only_private_reports_contain_examples(shared: bytes, private: bytes) -> None:
    assert EXAMPLE.encode() not in shared
    assert b"Aggregates only." in shared
    assert private.count(EXAMPLE.encode()) > 10
    assert b"Contains patient data: do not share." in private


def test_messages_are_masked(shared: bytes, private: bytes) -> None:
    for text in (b"&lt;10 of 10 rows were rejected", b"missing: ...", b"chosen.csv: &lt;10 of 20 subject IDs"):
        assert text in shared
    for text in (b"7 of 14 rows", b"10000032", b"/home/someone"):
        assert text not in shared
        assert text in private


# The page ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_examples", [False, True])
def test_a_page_is_safe_and_needs_nothing_else(
    crowded: Path, page_of: Callable[[bytes], Any], *, with_examples: bool
) -> None:
    content = build_report(crowded, with_examples=with_examples)
    page = page_of(content)
    assert b"&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in content
    assert not {"script", "link", "img", "iframe", "form"} & set(page.tags)
    loaded = [value for _, name, value in page.attributes if name in ("src", "href", "srcset", "style")]
    links = {value for value in loaded if not value.startswith("#")}
    assert links == {"https://physionet.org/content/mimiciv/"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert re.search(rb'Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'', content)
    assert not re.search(rb"url\(|@import", content)


def test_a_page_has_headings_captions_and_titles(shared: bytes, page_of: Callable[[bytes], Any]) -> None:
    page = page_of(shared)
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.tags.count("table") == page.tags.count("caption") == len(page.tables)
    assert all(caption.strip() for caption in page.tables)
    scopes = [value for tag, name, value in page.attributes if (tag, name) == ("th", "scope")]
    assert len(scopes) == page.tags.count("th")
    drawings = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "role")]
    assert len(drawings) > 20
    assert shared.index(b'id="warnings"') < shared.index(b'id="rows"')


def test_a_report_of_the_handmade_release_shows_what_became_of_its_rows(
    built: Path, page_of: Callable[[bytes], Any]
) -> None:
    page = page_of(build_report(built, with_examples=True))
    (caption,) = (caption for caption in page.tables if caption.startswith("Rows read ="))
    head, *rows = page.tables[caption]
    shown = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    ledger = pq.read_table(built / "ledger.parquet").to_pylist()
    for table in {line["table"] for line in ledger}:
        lines = [line for line in ledger if line["table"] == table]
        for outcome, column in (("read", "rows read"), ("events", "became events"), ("rejected", "rejected")):
            rows_of = sum(line["rows"] for line in lines if line["outcome"] == outcome)
            assert shown[table][column] == f"{rows_of:,}", (table, column)
    assert shown["all tables"]["events"] == f"{sum(line['events'] or 0 for line in ledger):,}"
    applied = pq.read_table(built / "rules_applied.parquet").to_pylist()
    (caption,) = (caption for caption in page.tables if caption.startswith("Events by rule"))
    assert {row[0] for row in page.tables[caption][1:]} == {row["rule"] for row in applied}


# Writing it ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "trajectories" / "v1"))


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_report_is_written_next_to_its_dataset(dataset: Path) -> None:
    path = dataset.with_name("v1-report.html")
    assert ehrtraj.report(dataset) == path
    assert path.read_bytes() == build_report(dataset)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    private = dataset.with_name("v1-report-with-examples.html")
    done = invoke("report", dataset, "--with-examples")
    assert (done.exit_code, "do not share" in done.stderr) == (0, True)
    assert private.read_bytes() == build_report(dataset, with_examples=True)
    assert path.read_bytes() == ehrtraj.report(ehrtraj.open(dataset)).read_bytes()
    assert not ehrtraj.check(dataset, max_cpus=1).broken


def test_a_report_replaces_only_reports(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    for _ in range(2):
        assert invoke("report", dataset, "-o", path).exit_code == 0
    path.write_text("<!DOCTYPE html><title>mine</title>")
    done = invoke("report", dataset, "-o", path)
    assert "is not a report of ehrtraj" in str(done.exception)
    assert path.read_text() == "<!DOCTYPE html><title>mine</title>"
    done = invoke("report", dataset, "-o", dataset / "report.html")
    assert "is inside the dataset" in str(done.exception)
    (tmp_path / "link.html").symlink_to(path)
    assert "symbolic link" in str(invoke("report", dataset, "-o", tmp_path / "link.html").exception)


def test_a_damaged_dataset_gives_an_error(dataset: Path) -> None:
    path = dataset / "ledger.parquet"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(ehrtraj.EhrtrajError, match="is damaged"):
        ehrtraj.report(dataset)
    assert not dataset.with_name("v1-report.html").exists()


def test_a_build_writes_a_report_by_default(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(version: str, **settings: Any) -> ehrtraj.BuildResult:
        return ehrtraj.build(release, tmp_path, version, max_cpus=1, tables="patients", **settings)

    result = build("v1")
    assert result.report == tmp_path / "v1-report.html"
    assert result.report.read_bytes() == build_report(result.path)
    assert build("v2", report=False).report is None
    assert not (tmp_path / "v2-report.html").exists()
    # Without the report, it is written again; the dataset is already there.
    result.report.unlink()
    assert build("v1").report == result.report
    assert result.report.exists()

    def fail(_path: Path) -> bytes:
        raise ZeroDivisionError("of no use")

    monkeypatch.setattr(run, "build_report", fail)
    failed = build("v3")
    assert failed.report is None
    assert failed.warnings[-1] == "the dataset is complete, but its report was not written: of no use"
    assert (failed.path / "manifest.json").is_file()
    (tmp_path / "v4-report.html").write_text("mine")
    assert "is not a report of ehrtraj" in build("v4").warnings[-1]
    assert (tmp_path / "v4-report.html").read_text() == "mine"


def test_writing_a_report_imports_neither_polars_nor_duckdb(built: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ehrtraj.reports.run import build_report; "
        f"build_report(Path({str(built)!r})); assert not {{'polars', 'duckdb'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("version", "license_name", "words"),
    [
        ("3.1", "PhysioNet Credentialed Health Data License 1.5.0", "The data use agreement still applies."),
        ("demo 2.2", "Open Data Commons Open Database License v1.0", "Check its terms"),
        ("synthetic 3.1", "MIT", "are invented"),
    ],
)
def test_a_report_reminds_of_the_data_use_agreement(dataset: Path, version: str, license_name: str, words: str) -> None:
    for name, change in (("manifest.json", {"release": {"source": "mimiciv", "version": version}}),
                         ("metadata/dataset.json", {"license": license_name})):  # fmt: skip
        content = json.loads((dataset / name).read_text())
        (dataset / name).write_text(json.dumps(content | change))
    assert words in build_report(dataset).decode()


def test_a_report_of_a_replaced_dataset_is_written_again(dataset: Path, release: Path) -> None:
    """A build can be killed after it replaced a dataset and before it wrote the report."""
    path = ehrtraj.report(dataset)
    manifest = dataset / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    settings: dict[str, Any] = {"max_cpus": 1}
    result = ehrtraj.build(release, dataset.parent, "v1", **settings)
    assert result.already_there
    assert path.read_bytes() == build_report(dataset)


def test_a_report_shows_the_concepts_that_a_dataset_includes(
    enriched: Path, built: Path, page_of: Callable[[bytes], Any]
) -> None:
    """Its numbers are those of the events, and it states which rows are not in the release."""
    content = build_report(enriched, with_examples=True)
    page, ds = page_of(content), ehrtraj.open(enriched)
    names = ["chemistry", "vitalsign"]
    (caption,) = (caption for caption in page.tables if caption.startswith("Rows read ="))
    head, *rows = page.tables[caption]
    shown = {row[0]: int(row[head.index("events")].replace(",", "")) for row in rows}
    per_table = ds.scan().group_by("source_table").len().collect()
    assert {name: count for name, count in shown.items() if count and name != "all tables"} == dict(per_table.rows())
    assert shown["all tables"] == ds.subjects["n_events"].sum()
    assert {f"concepts/{name}" for name in names} <= set(shown)
    note = "The dataset includes concepts as events."
    assert note in content.decode() and "left out: no value" in content.decode()
    assert ["Concepts", ", ".join(names)] in page.tables["What this dataset is"]
    without = build_report(built, with_examples=True)
    assert note not in without.decode()
    assert "Concepts" not in [row[0] for row in page_of(without).tables["What this dataset is"]]
