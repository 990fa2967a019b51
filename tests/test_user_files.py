"""Files that users write (rule tables, recipes, tasks): every mistake is an error that names the line."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from ehrtraj import rules
from ehrtraj.errors import OutputError, RecipeError
from ehrtraj.files import names_in, read_csv_lines, read_text_file
from ehrtraj.pipeline.plan.overlay import check_overlay_recipes
from ehrtraj.pipeline.shard.standardise import Standardiser
from ehrtraj.pipeline.shard.text_meaning import Interpreter
from ehrtraj.rules.measures import Measures
from ehrtraj.rules.overlay import check_overlay_rules
from ehrtraj.rules.texts import text_rules
from ehrtraj.sources.source import Source, find_source, packaged
from ehrtraj.user_files import keep_folder

MIMIC = packaged("mimiciv")

Wrong = Callable[[Path], object]

NO_TEXT: dict[str, tuple[Wrong, str]] = {
    "missing": (lambda path: None, "{path} cannot be read: No such file"),
    "a folder": (lambda path: path.mkdir(), "{path} is a folder"),
    "a pipe": (lambda path: os.mkfifo(path), "{path} is not a regular file"),
    "a dangling link": (
        lambda path: path.symlink_to("missing.csv"),
        "{path} cannot be read: it is a link to missing.csv",
    ),
    "a link to itself": (lambda path: path.symlink_to(path), "{path} cannot be read: Too many levels"),
    "latin-1": (lambda path: path.write_bytes(b"a\nb\n\xe9\n"), "{path}, line 3: not UTF-8"),
    "UTF-16": (lambda path: path.write_text("a,b", encoding="utf-16"), "{path}, line 1: not UTF-8"),
    "NUL": (lambda path: path.write_bytes(b"a\n\0\n"), "{path}, line 2: a NUL character"),
    "large": (lambda path: path.write_bytes(b"a" * 1001), "{path} is too large: the maximum is 1,000 bytes"),
}


@pytest.mark.parametrize("kind", NO_TEXT)
def test_a_file_that_is_not_text_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    make, message = NO_TEXT[kind]
    make(path)
    with pytest.raises(OutputError) as raised:
        read_text_file(path, "the file", OutputError, 1000)
    assert message.format(path=path) in str(raised.value)


def test_an_endless_device_is_not_a_file() -> None:
    with pytest.raises(OutputError, match="/dev/zero is not a regular file"):
        read_text_file(Path("/dev/zero"), "the file", OutputError)


def test_line_ends_and_the_byte_order_mark_are_normalised(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("\ufeffé\r\nb\rc\n".encode())
    assert read_text_file(tmp_path / "file", "the file", OutputError) == "é\nb\nc\n"


NO_TABLE = {
    "": "its first line must be a,b",
    "b,a\n1,2\n": "its first line must be a,b",
    "a,b\n1,2\n\n3\n": "line 4: it must have 2 fields, not 1",
    'a,b\n"1\n2",3\n1,2,3\n': "line 4: it must have 2 fields, not 3",
    'a,b\n1,2\n1,"2\n1,2\n': "line 3: unexpected end of data",
    'a,b\n1,"2"x\n': "line 2: ',' expected after '\"'",
    "a,b\n1," + "x" * 200_000 + "\n": "line 2: field larger than field limit",
}


@pytest.mark.parametrize("text", NO_TABLE)
def test_a_malformed_table_is_named_with_its_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text(text)
    with pytest.raises(OutputError) as raised:
        read_csv_lines(tmp_path / "file.csv", ["a", "b"], OutputError)
    assert str(raised.value).startswith(str(tmp_path / "file.csv"))
    assert NO_TABLE[text] in str(raised.value)


def test_lines_have_their_line_numbers(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text('a,b\n\n"1\n1",2\n3,4\n')
    lines = read_csv_lines(tmp_path / "file.csv", ["a", "b"], OutputError)
    assert lines == [(3, {"a": "1\n1", "b": "2"}), (5, {"a": "3", "b": "4"})]


def test_a_path_that_is_not_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file", "nowhere"):
        with pytest.raises(OutputError, match=f"the folder .*{name} cannot be read"):
            names_in(tmp_path / name, OutputError)


# Rule tables ----------------------------------------------------------------------------------------------------------

NO_RULES: dict[str, tuple[Wrong, str]] = {
    "limits.csv": (lambda path: path.mkdir(), "is a folder"),
    "units.csv": (lambda path: path.symlink_to("missing.csv"), "it is a link to missing.csv"),
    "spellings.csv": (lambda path: path.write_bytes(b"written,ucum,source\n\xb5g,ug,me\n"), "line 2: not UTF-8"),
    "LIMITS.CSV": (lambda path: path.write_text("event_type\n"), "is not a rule table"),
    "sentinels.csv": (lambda path: path.write_text('value,source\n1,"me\n'), "line 2: unexpected end of data"),
}


def check_rules(folder: Path) -> None:
    check_overlay_rules(keep_folder(folder), MIMIC.event_types)


def with_rules(folder: Path) -> Source:
    """Return a source with a folder of custom rule tables."""
    (folder / "overlay").mkdir()
    shutil.copytree(folder, folder / "overlay" / "rules", ignore=shutil.ignore_patterns("overlay"))
    return find_source(overlay=folder / "overlay")


@pytest.mark.parametrize("name", NO_RULES)
def test_a_rule_table_that_cannot_be_read_is_not_ignored(name: str, tmp_path: Path) -> None:
    make, message = NO_RULES[name]
    make(tmp_path / name)
    with pytest.raises(RecipeError, match=message):
        check_rules(tmp_path)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("limits", "LAB,1,nan,3,,,,me", "low is 'nan', but must be a number"),
        ("limits", "LAB,1,1_0,3,,,,me", "low is '1_0', but must be a number"),
        ("limits", "LAB,,1,3,,,,me", "item is empty"),
        ("conversions", "LAB,1,mg,g,0,0,,me", "factor must not be 0"),
        ("conversions", "LAB,1,mg,g,1,0,-1,me", "weight is '-1', but must be multiply or divide"),
        ("copied_results", "CHART,1,CHART,2,,me", "tolerance is empty"),
        ("sentinels", "1e999,me", "value is '1e999', but must be a number"),
        ("text_forms", "LAB,number,,[0-9]+,me", r"pattern has no group named number: write it as \(\?P<number>"),
        ("text_forms", "LAB,range,,(?P<low>[0-9])-([0-9]),me", "pattern cannot be used"),
        ("text_forms", "LAB,bound,,(?P<bound>[0-9]),me", "operator is required for the form bound"),
        ("text_forms", "LAB,,,x,me", "form is empty"),
        ("code_forms", "LAB,(,X,,me", "form is .* but must be a regular expression"),
        ("vocabularies", "gems,x.txt,,,about,me", "setting is 'gems'"),
        ("vocabularies", "gem,/etc/*,,,about,me", "file is '/etc/[*]', but must be a file name"),
        ("vocabularies", "concept_maps,x.csv,LAB,sure,about,me", "least_confidence is 'sure', but must be a number"),
    ],
)
def test_an_invalid_rule_is_named(name: str, line: str, message: str, tmp_path: Path) -> None:
    header = ",".join(column for column in MIMIC.rules(name)[0] if column != "loinc")
    (tmp_path / f"{name}.csv").write_text(f"{header}\n\n{line}\n")
    with pytest.raises(RecipeError, match=f"{name}.csv, line 3: .*{message}"):
        check_rules(tmp_path)


def all_lines(name: str) -> list[str]:
    """Return the lines of a rule table as in the files: the general ones first, then those of the source."""
    files = [folder / f"{name}.csv" for folder in (Path(rules.__file__).parent, MIMIC.folder / "rules")]
    head, *lines = [f.read_text(encoding="utf-8").splitlines(keepends=True) for f in files if f.is_file()]
    return head + [line for more in lines for line in more[1:]]


@pytest.mark.parametrize("name", [one["table"] for one in rules.read_general("about")])
def test_every_packaged_rule_passes_the_checks_of_custom_rules(name: str, tmp_path: Path) -> None:
    if name in ("about", "flags", "event_types", "planned_event_types", "intervals"):
        return
    (tmp_path / f"{name}.csv").write_text("".join(all_lines(name)))
    check_rules(tmp_path)


def test_a_custom_conversion_by_weight_is_used(tmp_path: Path) -> None:
    header = ",".join(column for column in MIMIC.rules("conversions")[0] if column != "loinc")
    (tmp_path / "conversions.csv").write_text(f"{header}\nLAB,1,mg,mg/kg,1,0,divide,me\n")
    check_rules(tmp_path)
    assert Measures(with_rules(tmp_path).rules).conversions["LAB", "1", "mg", "mg/kg"].weight == -1


# Tables of a folder of recipes ----------------------------------------------------------------------------------------

TABLE = "module,table,kind,key_columns,duplicate_columns\n"
COLUMN = "module,table,column,type\n"
GOOD = COLUMN + "ecg,record,subject_id,bigint\n"


@pytest.mark.parametrize(
    ("tables_csv", "columns_csv", "message"),
    [
        (TABLE + "ecg,../../etc,patient,subject_id,\n", GOOD, "tables.csv, line 2: table is '../../etc'"),
        (TABLE + 'ecg,"a""b",patient,subject_id,\n', GOOD, "tables.csv, line 2: table is 'a\"b'"),
        (TABLE + "..,record,patient,subject_id,\n", GOOD, "tables.csv, line 2: module is '..'"),
        (TABLE + "ecg,record,patient,subject_id,\n", GOOD + 'ecg,record,"a""",double\n', "columns.csv, line 3: column"),
        (TABLE + "ecg,record,patient,subject_id,\n", GOOD + "ecg,record,Subject_id,double\n", "line 3: .* twice"),
        (
            TABLE + "ecg,record,patient,subject_id,\n",
            COLUMN + "ecg,record,subject_id,string\n",
            "subject_id must be a bigint",
        ),
    ],
)
def test_an_invalid_table_is_named(tables_csv: str, columns_csv: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tables.csv").write_text(tables_csv)
    (tmp_path / "recipes" / "columns.csv").write_text(columns_csv)
    source = find_source(overlay=tmp_path)
    with pytest.raises(RecipeError, match=message):
        source.tables  # noqa: B018


@pytest.mark.parametrize("line", ["ECG,²,x,me", "ECG,-1,x,me", "ECG,99999999999,x,me", "ecg,1,x,me", "A//B,1,x,me"])
def test_an_invalid_event_type_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "event_types.csv").write_text(f"event_type,rank,meaning,source\n{line}\n")
    source = find_source(overlay=tmp_path)
    with pytest.raises(RecipeError, match=r"event_types.csv, line 2"):
        source.event_types  # noqa: B018


# Mutations ------------------------------------------------------------------------------------------------------------

FIXED = ("about", "flags", "event_types", "planned_event_types", "intervals")
CELLS = [
    *(
        ",",
        "\n",
        '"',
        '""',
        "\r",
        "\0",
        "é",
        "²",
        "nan",
        "inf",
        "-",
        "*",
        "1e5",
        "0",
        "",
        "  ",
        "//",
        "1",
        "LABX",
        "LAB",
    ),
    *("(", "[a", "(?P<number>x)", "(?P<low>", "\\", "divide", "source"),
]
SQL = [
    *(
        "(",
        ")",
        "'",
        '"',
        ";",
        "--",
        "/*",
        "*/",
        "$$",
        "SELECT",
        "FROM services",
        ", ",
        " AS x",
        "NULL",
        "::DATE",
        "[1]",
    ),
    *("read_csv('/etc/passwd')", "COPY (SELECT 1) TO 'x';", "-- [also] x\n", "-- [every row]\n", "-- rejected: a | "),
    *("-- left out: ", "1/0", "'x'::INT", "error('x')", "\n", "\0", "é", "(SELECT 1)", "UNION ALL", "WITH a AS (", "%"),
    *("flag('x')", "subject_id", "time", "::BLOB", "INTERVAL 1 DAY", "unnest([1,2])", "{'a': 1}", "||"),
]


def test_mutated_rule_tables_raise_only_ehrtraj_errors(tmp_path: Path, mutations: ModuleType) -> None:
    count = int(os.environ.get("EHRTRAJ_FUZZ_RULES", "80"))
    chance, used = random.Random(12), 0
    names = [line["table"] for line in rules.read_general("about") if line["table"] not in FIXED]
    for number in range(count):
        folder, name = tmp_path / str(number), chance.choice(names)
        folder.mkdir()
        head, *lines = all_lines(name)
        text = head + "".join(chance.sample(lines, min(len(lines), 4)))
        (folder / f"{name}.csv").write_bytes(mutations.mutated(chance, text, CELLS))
        try:
            check_rules(folder)
        except RecipeError as error:
            assert f"{name}.csv" in str(error)
            continue
        used += 1
        source = with_rules(folder)
        Standardiser(source)
        known = text_rules(source.rules, partial(source.rules, special_first=True))
        spelled = Measures(source.rules).spelled
        for of_event_type in known.values():
            Interpreter(of_event_type, spelled).examine(
                pa.array(["1,000", "<5", "1-2", "NEG", "UNABLE TO REPORT", "x"])
            )
    assert count // 10 < used < count * 9 // 10


def test_mutated_recipes_raise_only_ehrtraj_errors(tmp_path: Path, mutations: ModuleType) -> None:
    count = int(os.environ.get("EHRTRAJ_FUZZ_RECIPES", "12"))
    chance = random.Random(12)
    ours = MIMIC.folder / "recipes"
    files = sorted(ours.rglob("*.sql"))
    for number in range(count):
        path = chance.choice(files)
        folder = tmp_path / str(number) / "recipes"
        mine = folder / path.relative_to(ours)
        mine.parent.mkdir(parents=True)
        mine.write_bytes(mutations.mutated(chance, path.read_text(encoding="utf-8"), SQL))
        try:
            source = find_source(overlay=folder.parent)
            assert source.overlay_recipes is not None
            check_overlay_recipes(source, source.overlay_recipes)
        except RecipeError as error:
            assert str(mine) in str(error)
