"""`ehrtraj info`, `show` and `codes` from the user's point of view."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from typer.testing import CliRunner, Result

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.cli.demo import example_patient
from ehrtraj.errors import DatasetError, EhrtrajError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def ds(built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(built)


def test_info_counts_patients_events_and_codes(ds: ehrtraj.Dataset) -> None:
    events = ds.scan().collect()
    output = run("info", ds.path).stdout
    assert f"8 patients, {events.height:,} events of {ds.codes.height:,} codes" in output
    for column, kind in (("source_table", "table"), (pl.col("code").str.split("//").list.first(), "event_type")):
        for name, count in events.group_by(column).len().iter_rows():
            assert re.search(rf"^{re.escape(name)} +\d+ +{count}\b", output, re.M), (kind, name, output)
    for split, group in ds.subjects.group_by("split"):
        assert re.search(rf"^{split[0]} +{group.height} +{group['n_events'].sum()}$", output, re.M), output
    code, count = ds.sql("SELECT code, count(*) AS n FROM events GROUP BY code ORDER BY n DESC, code LIMIT 1").row(0)
    frequent = output[output.index("most frequent codes") :].splitlines()
    assert sum(not line.startswith(" ") for line in frequent) == 12, "a long description continues on the next line"
    assert re.match(rf"{re.escape(code)} .* {count} ", frequent[2]), frequent


def test_info_as_json(ds: ehrtraj.Dataset) -> None:
    found = json.loads(run("info", ds.path, "--json").stdout)
    ledger = pl.read_parquet(ds.path / "ledger.parquet").filter(outcome="rejected")
    assert found["patients"] == 8
    assert found["events"] == sum(table["events"] for table in found["tables"]) == ds.scan().collect().height
    assert found["codes"] == sum(event_type["codes"] for event_type in found["event_types"]) == ds.codes.height
    assert sum(t["rejected"] for t in found["tables"]) == ledger["rows"].sum() > 0
    assert found["last_time"] == ds.subjects["last_time"].max().isoformat()
    assert found["clock"] == "event"
    assert found["bytes"] == sum(
        p.stat().st_size for p in ds.path.rglob("*") if p.is_file() and p.name != "manifest.json"
    )


def lines_of(result: Result) -> list[str]:
    """Return the lines that show events: only these are indented."""
    assert result.exit_code == 0, result.output
    return [line for line in result.stdout.splitlines() if line.startswith("  ")]


def test_show_prints_one_line_per_event(ds: ehrtraj.Dataset) -> None:
    for trajectory in ds.trajectories():
        lines = lines_of(run("show", ds.path, trajectory.subject_id))
        assert len(lines) == len(trajectory)
        for line, event in zip(lines, trajectory.events.iter_rows(named=True), strict=True):
            event_type = event["code"].partition("//")[0]
            assert re.match(rf"  (always|\d{{4}}(-\d\d-\d\d( \d\d:\d\d)?)?) +{event_type}( |$)", line), line


def test_show_selects_codes_and_a_time_range(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    subject = handmade.SEPSIS
    options = ["--code", "LAB//*", "--code", "ICU_*", "--from", "2153-04-12", "--to", "2153-04-13 05:10"]
    result = run("show", ds.path, subject, *options)
    expected = (
        ds[subject]
        .codes("LAB//*", "ICU_*")
        .events.filter(
            pl.col("time").is_between(pl.datetime(2153, 4, 12), pl.datetime(2153, 4, 13, 5, 10), closed="left")
        )
    )
    assert len(lines_of(result)) == expected.height > 3
    assert f"{expected.height} of {len(ds[subject])} events" in result.stdout
    heading = f"Admission {handmade.SEPSIS_HADM}, EW EMER., 2153-04-11 23:58 to 2153-04-18 13:45"
    assert heading in result.stdout, "the selection must not change the headings"


def test_show_as_of_a_time(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    result = run("show", ds.path, handmade.SEPSIS, "--as-of", "2153-04-12T10:00", "--attributes")
    assert "2153-04-11 23:58 to ..." in result.stdout
    assert "DISCHARGE" not in result.stdout
    assert "ref_range_upper 2" in result.stdout
    assert "hadm_inferred" in result.stdout


def test_show_in_days(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    output = run("show", ds.path, handmade.SEPSIS, "--days").stdout
    assert not re.search(r"\d{4}-\d\d-\d\d", output)
    assert re.search(r"^  day 0 21:20 +LAB +Creatinine.* 1.9 mg/dL  50912$", output, re.M), output


def show_on_a_terminal(ds: ehrtraj.Dataset, subject_id: int, pager: str) -> str:
    """Run `ehrtraj show` on a terminal; return what the terminal shows after it succeeded."""
    controller, terminal = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "LESS", "CI")}
    subprocess.run(
        [sys.executable, "-m", "ehrtraj", "show", str(ds.path), str(subject_id)],
        stdin=terminal, stdout=terminal, stderr=terminal, timeout=60, check=True,
        env=environment | {"TERM": "xterm", "PAGER": pager},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while piece := os.read(controller, 65536):
            shown += piece
    os.close(controller)
    return shown.decode()


def test_the_pager_may_exit_early(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    assert re.fullmatch(r"\S*Patient 10900116.*\s*", show_on_a_terminal(ds, handmade.SEPSIS, "head -n 1"))


def test_without_a_pager_the_timeline_is_printed_to_the_terminal(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    shown = show_on_a_terminal(ds, handmade.CLINIC, "no-such-pager")
    assert "Patient 10900598" in shown
    assert "\x1b[" in shown


def test_show_sends_coloured_output_to_the_pager(ds: ehrtraj.Dataset, handmade: ModuleType, tmp_path: Path) -> None:
    """On a terminal all output goes through PAGER, in colour. Without a terminal there is no pager and no colour."""
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {tmp_path}/paged\necho $LESS > {tmp_path}/less\n")
    pager.chmod(0o700)
    assert show_on_a_terminal(ds, handmade.SEPSIS, str(pager)) == ""
    paged = (tmp_path / "paged").read_text()
    assert "\x1b[1mPatient" in paged
    # Long lines are folded: the rest of an event is indented more.
    lines = re.sub(r"\x1b\[[\d;]*m", "", paged).splitlines()
    assert len([line for line in lines if re.match(r"  \S", line)]) == len(ds[handmade.SEPSIS])
    assert "R" in (tmp_path / "less").read_text(), "without this flag, less shows colours as escape codes"
    assert "\x1b" not in run("show", ds.path, handmade.SEPSIS).stdout


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("LAB//50912", ["LAB//50912"]),
        ("creatinine", ["LAB//50912"]),
        ("CREATININE", ["LAB//50912"]),
        ("ICU_START//*", None),
    ],
)
def test_codes_are_found_by_pattern_and_by_word(ds: ehrtraj.Dataset, pattern: str, expected: list[str] | None) -> None:
    rows = list(csv.DictReader(io.StringIO(run("codes", ds.path, pattern, "--csv").stdout)))
    found = [row["code"] for row in rows]
    if expected is None:
        expected = [c for c in ds.codes["code"] if c.startswith(pattern[:-1])]
    assert sorted(found) == sorted(expected)
    assert expected
    events = ds.scan().collect()
    for row in rows:
        assert int(row["n_events"]) == events.filter(code=row["code"]).height


def test_codes_lists_the_most_frequent_first(ds: ehrtraj.Dataset) -> None:
    result = run("codes", ds.path, "--limit", 5)
    output = result.stdout
    top = ds.codes.sort("n_events", "code", descending=[True, False]).head(5)
    lines = output.splitlines()
    assert [line.split("  ")[0] for line in lines[1:6]] == top["code"].to_list()
    assert len(lines) == 6
    assert result.stderr == f"note: {ds.codes.height - 5:,} more codes: --limit {ds.codes.height} shows all\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("info", "{tmp}"), "is not a dataset"),
        (("show", "{ds}", 99), "has no patient 99: it contains 8 patients"),
        (("codes", "{ds}", "unicorn"), "no code in .* matches 'unicorn'"),
    ],
)
def test_user_mistakes_are_reported_in_plain_words(
    ds: ehrtraj.Dataset, tmp_path: Path, arguments: tuple[object, ...], words: str
) -> None:
    result = run(*(str(a).format(ds=ds.path, tmp=tmp_path) for a in arguments))
    assert isinstance(result.exception, DatasetError)
    assert re.search(words, str(result.exception))
    assert result.exception.exit_code == 7


def test_csv_respects_the_limit(ds: ehrtraj.Dataset) -> None:
    """Without a limit, CSV is complete. A note on stderr counts what is not printed."""
    everything = run("codes", ds.path, "--csv")
    assert (everything.stdout.count("\n"), everything.stderr) == (ds.codes.height + 1, "")
    some = run("codes", ds.path, "--csv", "--limit", 3)
    assert some.stdout == "".join(everything.stdout.splitlines(keepends=True)[:4])
    assert some.stderr == f"note: {ds.codes.height - 3:,} more codes: --limit {ds.codes.height} shows all\n"
    rows = pl.read_csv(run("rules", "applied", ds.path, "--csv").stdout.encode(), infer_schema=False)
    limited = run("rules", "applied", ds.path, "--csv", "--limit", 2)
    kept = rows.group_by("rule", maintain_order=True).head(2)
    assert pl.read_csv(limited.stdout.encode(), infer_schema=False).equals(kept)
    longest = rows.group_by("rule").len()["len"].max()
    assert limited.stderr == f"note: {rows.height - kept.height:,} more rows: --limit {longest} shows all\n"


def test_show_respects_the_limit(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    result = run("show", ds.path, handmade.SEPSIS, "--limit", 7)
    assert len([line for line in result.stdout.splitlines() if re.match(r"  \S", line)]) == 7
    total = len(ds[handmade.SEPSIS])
    assert result.stderr == f"note: {total - 7} more events: --limit {total} shows all\n"


def test_rules_explain_respects_the_limit() -> None:
    result = run("rules", "explain", "LAB", "--limit", 2)
    assert result.stderr.startswith("note: ")
    assert "--limit" in result.stderr
    assert result.stdout.count("      source: ") < run("rules", "explain", "LAB", "--limit", 9999).stdout.count(
        "      source: "
    )


@pytest.mark.parametrize(
    ("arguments", "suggested"),
    [
        (["export", "{ds}", "-o", "{tmp}/x", "--per", "admissn"], "admission"),
        (["export", "{ds}", "-o", "{tmp}/x", "--format", "jsnl"], "jsonl"),
        (["export", "{ds}", "-o", "{tmp}/x", "--split", "trainn"], "train"),
        (["concepts", "{ds}", "--clock", "availble_"], "available"),
        (["rules", "applied", "{ds}", "--rule", "unit_convertd"], "unit_converted"),
        (["rules", "explain", "unit_convertd"], "unit_converted"),
        (["tables", "--source", "mimicv"], "mimiciv"),
        (["tasks", "icu_mortalty"], "icu_mortality"),
    ],
)
def test_a_typo_in_a_choice_is_an_error_that_suggests_one(
    ds: ehrtraj.Dataset, tmp_path: Path, arguments: list[str], suggested: str
) -> None:
    result = run(*(argument.format(ds=ds.path, tmp=tmp_path) for argument in arguments))
    assert f"(did you mean {suggested}?)" in str(result.exception)
    assert isinstance(result.exception, EhrtrajError)
    assert result.exception.exit_code == 2


def test_every_command_has_examples_that_can_be_run(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    for command, number in (("info", 2), ("show", 4), ("codes", 3)):
        output = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
        examples = re.findall(rf"^ *ehrtraj ({command} trajectories/v1.*?)(?: > .*)?\s*$", output, re.M)
        assert len(examples) == number, output
        for example in examples:
            words = re.findall(r"'([^']*)'|(\S+)", example.replace("10000032", str(handmade.SEPSIS)))
            arguments = [quoted or bare for quoted, bare in words]
            arguments[1] = str(ds.path)
            assert run(*arguments).exit_code == 0, example


def test_help_does_not_load_polars_or_duckdb() -> None:
    """`--help` and `--version` need neither library, and would be slow with them."""
    code = "import sys, ehrtraj.cli; print(sorted({'polars', 'duckdb'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout == "[]\n"


def test_the_demo_shows_a_patient_even_if_none_had_an_icu_stay(
    ds: ehrtraj.Dataset, release: Path, handmade: ModuleType, tmp_path: Path
) -> None:
    labs = ehrtraj.open(ehrtraj.build(release, tmp_path, "labs", tables="labevents", max_cpus=1).path)
    assert "ICU_START" not in set(labs.codes["event_type"])
    middle = labs.subjects.sort("n_events", "subject_id")["subject_id"].to_list()[len(labs) // 2]
    assert example_patient(labs).subject_id == middle
    assert example_patient(ds).subject_id == handmade.SEPSIS
