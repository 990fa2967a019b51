"""Wrong types of arguments: every documented function reports them as an error that the user can act on."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest

import ehrtraj
from ehrtraj.arguments import Texts, checked, described, fits, listed
from ehrtraj.errors import EhrtrajError, SettingsError
from ehrtraj.labels import Labels
from ehrtraj.notes import read_notes

ROOT = Path(__file__).resolve().parents[1]
FRAME = pl.DataFrame({"code": ["LAB//50912"]})
WRONG = [None, object(), 1.5, [object()], FRAME]


def documented() -> Iterator[tuple[str, Any]]:
    """Everything at the top level, and everything that the reference of Python documents: the functions of modules."""
    yield from ((name, getattr(ehrtraj, name)) for name in ehrtraj._LAZY_IMPORTS)
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    for path in re.findall(r"^::: (\S+)$", page, re.M):
        module, _, name = path.rpartition(".")
        if (found := getattr(importlib.import_module(module), name, None)) is None:
            found = importlib.import_module(path)
        if inspect.ismodule(found):
            yield from ((n, one) for n, one in vars(found).items() if getattr(one, "__module__", "") == path)
        else:
            yield name, found


def functions() -> dict[str, tuple[bool, Callable[..., Any]]]:
    """The public functions and methods, by name, and whether they are methods."""
    found: dict[str, tuple[bool, Callable[..., Any]]] = {}
    for name, one in documented():
        if inspect.isclass(one):
            methods = {n: f for n, f in vars(one).items() if inspect.isfunction(f)}
            public = {n: f for n, f in methods.items() if not n.startswith("_") or n == "__getitem__"}
            found |= {f"{one.__name__}.{n}": (True, f) for n, f in public.items()}
        elif inspect.isfunction(one) and not name.startswith("_"):
            found[one.__name__] = False, one
    return found


FUNCTIONS = functions()
CASES = [
    (name, parameter.name)
    for name, (is_method, function) in FUNCTIONS.items()
    for parameter in list(inspect.signature(function).parameters.values())[is_method:]
    if parameter.kind is not parameter.VAR_KEYWORD
]
# Valid values of parameters without a default, by function if they differ.
VALID: dict[str, Callable[[dict[str, Any]], Any]] = {
    "Cohort.exclude.name": lambda made: "step",
    "Cohort.features.window": lambda made: ("start", "24h"),
    "Cohort.include.name": lambda made: "step",
    "Trajectory.concept.name": lambda made: "age",
    "check.dataset": lambda made: made["Dataset"].path,
    "join_notes.dataset": lambda made: made["Dataset"].path,
    "read_notes.dataset": lambda made: made["Dataset"].path,
    "a": lambda made: made["Dataset"],
    "at": lambda made: "2153-04-12",
    "b": lambda made: made["Dataset"],
    "codes": lambda made: "CONCEPT//age//age",
    "dataset": lambda made: made["Dataset"],
    "difference": lambda made: made["difference"],
    "diff_report.output": lambda made: made["folder"] / "difference.html",
    "events": lambda made: made["events"],
    "file": lambda made: made["Dataset"].files[0],
    "kind": lambda made: "icu",
    "labels": lambda made: made["labels"],
    "n": lambda made: 2,
    "name": lambda made: "sofa",
    "of": lambda made: "heart_rate",
    "output": lambda made: made["folder"] / "export",
    "path": lambda made: made["folder"] / "file",
    "patterns": lambda made: "*",
    "predicates": lambda made: pl.lit(value=True),
    "query": lambda made: "SELECT ?",
    "stays": lambda made: "icu",
    "subject_id": lambda made: 10900116,
    "task": lambda made: "icu_mortality",
    "texts": lambda made: made["texts"],
    "time": lambda made: "2153-04-12",
}
# Errors about something else than the type.
EXPLAINED = {
    "Cohort.exclude.name": "a step needs a name",
    "Cohort.exclude.predicates": "a condition is",
    "Cohort.include.name": "a step needs a name",
    "Cohort.include.predicates": "a condition is",
    "Dataset.sql.parameters": "parameters is|DuckDB rejected the query",
}


@pytest.fixture(scope="module")
def made(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An object of each class with methods, and what else functions need."""
    ds = ehrtraj.open(built)
    cohort = ds.cohort("icu")
    table = pl.DataFrame({"subject_id": [1], "prediction_time": [datetime(2150, 1, 1)], "boolean_value": [True]})
    stays = pl.DataFrame({"hadm_id": [1], "stay_id": [1]})
    labels = Labels(next(iter(ehrtraj.tasks().values())), table, stays, pl.DataFrame(), (), 0)
    events = ds[10900116].events.to_arrow()
    return {
        "Dataset": ds,
        "Trajectory": ds[10900116],
        "Cohort": cohort,
        "Labels": labels,
        "TimelinePlot": ds[10900116].plot(),
        "difference": ehrtraj.diff(built, built),
        "events": events,
        "texts": read_notes(built),
        "labels": cohort.frame.select("subject_id", "stay_id", prediction_time="start", boolean_value=pl.lit(True)),
        "folder": tmp_path_factory.mktemp("arguments"),
    }


def call(name: str, wrong: str, value: object, made: dict[str, Any]) -> object:
    """Call a function with a wrong value of one parameter, and valid values of the others that it needs."""
    is_method, function = FUNCTIONS[name]
    positional = [made[name.partition(".")[0]]] if is_method else []
    keywords = {}
    for one in list(inspect.signature(function).parameters.values())[is_method:]:
        if one.name == wrong:
            given = value
        elif one.kind is one.VAR_KEYWORD or one.default is not one.empty:
            continue
        else:
            given = (VALID.get(f"{name}.{one.name}") or VALID[one.name])(made)
        if one.kind is one.KEYWORD_ONLY or (one.kind is one.POSITIONAL_OR_KEYWORD and one.default is not one.empty):
            keywords[one.name] = given
        else:
            positional.append(given)
    return function(*positional, **keywords)


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_a_wrong_type_is_explained(name: str, parameter: str, made: dict[str, Any]) -> None:
    default = inspect.signature(FUNCTIONS[name][1]).parameters[parameter].default
    refused = 0
    for value in WRONG:
        if value is default:
            continue
        try:
            call(name, parameter, value, made)
        except EhrtrajError as error:
            refused += 1
            words = EXPLAINED.get(f"{name}.{parameter}", parameter)
            assert re.search(words, str(error)), f"{value!r}: {error}"
    assert refused, "nothing is checked"


def test_all_functions_are_covered() -> None:
    assert {"build", "open_dataset", "label", "Dataset.filter", "Trajectory.codes", "Cohort.features"} <= set(FUNCTIONS)
    assert {"Labels.write", "read_notes", "concept_values", "compute_concepts", "ready_tasks"} <= set(FUNCTIONS)


SEX, CODE = pl.col("sex"), pl.col("code")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda m: m["Trajectory"].codes([1]), "patterns is [1]: it must be a text or a list of texts"),
        (lambda m: m["Trajectory"].codes(iter([1])), "patterns contains 1: it must be a text or a list of texts"),
        (lambda m: m["Trajectory"].codes(None), "patterns is None: it must be a text or a list of texts"),
        (lambda m: m["Trajectory"].as_of(None), "time is None: it must be a time: a datetime, a date, or a text"),
        (lambda m: m["Trajectory"].age("x"), "'x' is not a valid time: write it as 2180-07-23"),
        (lambda m: m["Trajectory"].to_wide(freq=1), "freq is 1: it must be a text"),
        (lambda m: m["Trajectory"].filter(pl.col("Code") == "x"), "events have no column 'Code' (did you mean code?)"),
        (lambda m: m["Trajectory"].filter(CODE), "must be true or false, but 'code' is String: compare it"),
        (lambda m: m["Trajectory"].filter(CODE > 1), "polars cannot evaluate a condition on events"),
        (lambda m: m["Trajectory"].filter(CODE.head(2) == "x"), "a condition on events has 2 values for 198 rows"),
        (lambda m: m["Dataset"].filter(pl.col("Sex") == "F"), "patients have no column 'Sex' (did you mean sex?)"),
        (lambda m: m["Dataset"].filter(pl.col("Sex")), "patients have no column 'Sex' (did you mean sex?)"),
        (
            lambda m: m["Dataset"].filter(SEX),
            "but 'sex' is String: compare it with a value, such as pl.col(\"sex\") ==",
        ),
        (lambda m: m["Dataset"].filter("sex"), 'it must be a polars expression, such as pl.col("sex") == "F", or a'),
        (lambda m: m["Dataset"].filter(split="Train"), "there is no split 'Train' (did you mean train?)"),
        (lambda m: m["Dataset"].trajectories(split="Train"), "there is no split 'Train' (did you mean train?)"),
        (lambda m: m["Dataset"].sample("3"), "n is '3': it must be a whole number"),
        (lambda m: m["Dataset"]["abc"], "has no patient 'abc' (a subject_id is an integer)"),
        (lambda m: m["Dataset"][FRAME], "has no patient an object of the type DataFrame (a subject_id is an integer)"),
        (lambda m: m["Cohort"].include("a", SEX), "a condition on stays must be true or false, but 'sex' is String"),
        (lambda m: m["Cohort"].exclude("a", pl.col("Sex") == "F"), "stays have no column 'Sex'"),
        (lambda m: ehrtraj.open(None), "path is None: it must be a path"),
        (lambda m: ehrtraj.build(1), "data_dir is 1: it must be a path or None"),
        (lambda m: ehrtraj.build(tables=[1]), "tables is [1]: it must be a text, a list of texts or None"),
        (lambda m: ehrtraj.label(m["Dataset"].path, "icu_mortality"), "it must be a Dataset"),
        (lambda m: ehrtraj.export(m["Dataset"], None), "output is None: it must be a path"),
    ],
)
def test_the_message_shows_the_way_out(wrong: Callable[[dict[str, Any]], Any], message: str, made: Any) -> None:
    with pytest.raises(EhrtrajError, match=re.escape(message)):
        wrong(made)


@pytest.mark.parametrize(
    ("value", "hint", "words"),
    [
        (np.int64(3), int, "a whole number"),
        (np.float32(3), float, "a number"),
        (np.bool_(True), bool, "True or False"),
        (date(2150, 1, 1), datetime | date | str, "a time: a datetime, a date, or a text such as 2180-07-23 14:00"),
        (pl.Series(["a"]), Texts, "a text or a list of texts"),
        ({"a", "b"}, Texts | None, "a text, a list of texts or None"),
        (iter([1]), Texts, "a text or a list of texts"),
        (Path("a"), str | Path, "a path"),
        ((0.5, 1), str | Path | list[float], "a path or a list of numbers"),
        ("anything", Literal["a", "b"], "'a' or 'b'"),
        ({}, dict[str, Any] | None, "a dict or None"),
        (print, Callable[[int], None], "a function"),
    ],
)
def test_an_annotation_allows_values(value: object, hint: Any, words: str) -> None:
    assert fits(value, hint)
    assert described(hint) == words


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int), (1, bool), ("1", int), (1, str), (b"a", Texts), ({"a": 1}, Texts), (FRAME, Texts),
        ("a", list[str]), ("a", Path), (1, Literal["a"]), (None, Callable[[], None]), (pl.Series([1]), Texts),
    ],
)  # fmt: skip
def test_an_annotation_excludes_values(value: object, hint: Any) -> None:
    assert not fits(value, hint)


def test_texts_come_from_one_or_several() -> None:
    given: list[Any] = ["a", ["a"], ("a",), {"a"}, pl.Series(["a"]), np.array(["a"]), iter("a")]
    assert [listed("codes", one) for one in given] == [["a"]] * len(given)
    with pytest.raises(SettingsError, match="codes contains None: it must be a text or a list of texts"):
        listed("codes", ["a", None])


def test_python_reports_arguments_that_do_not_exist() -> None:
    @checked
    def double(number: int) -> int:
        return 2 * number

    assert double(2) == double(number=2) == 4
    for wrong in (lambda: double(1, 2), lambda: double(count=1), lambda: double()):
        with pytest.raises(TypeError, match="argument"):
            wrong()


def test_lists_and_single_values_are_accepted(made: dict[str, Any]) -> None:
    ds, t, cohort = made["Dataset"], made["Trajectory"], made["Cohort"]
    few = t.codes("LAB//50813", "LAB//50912").events
    both = ["LAB//50813", "LAB//50912"]
    for patterns in ((both,), (tuple(both),), (pl.Series(both),), (both[0], both[1:]), (iter(both),)):
        assert t.codes(*patterns).events.equals(few)
    assert t.to_wide("1d", iter(both)).columns == ["time", *both]
    assert t.to_wide("1d", "LAB//50813").equals(t.to_wide("1d", {"LAB//50813"}))
    assert ds.filter(having="ICU_START//*").subjects.equals(ds.filter(having=("ICU_START//*",)).subjects)
    assert t.text(types="LAB") == t.text(types=("LAB",))
    assert cohort.first("subject_id").frame.equals(cohort.first(["subject_id"]).frame)
    one = cohort.features(("start", "24h"), "heart_rate", "max")
    assert one.equals(cohort.features(["start", "24h"], iter(["heart_rate"]), ("max",)))
    assert len(ds.filter([SEX == "F", SEX.is_not_null()])) == len(ds.filter(SEX == "F")) == 5
    assert t.filter([CODE == "LAB//50813"], CODE.is_not_null()).events.equals(t.codes("LAB//50813").events)


# The top level -------------------------------------------------------------------------------------------------------


def test_importing_everything_does_not_replace_open() -> None:
    script = "from ehrtraj import *; import io; assert open is io.open; label, tasks, build; Dataset"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert {"open", "label", "tasks", "build"} <= set(dir(ehrtraj))


def test_tasks_and_labels_are_at_the_top_level(made: dict[str, Any]) -> None:
    assert "icu_mortality" in ehrtraj.tasks()
    assert ehrtraj.label(made["Dataset"], ehrtraj.tasks()["icu_mortality"]).table.height == 2
