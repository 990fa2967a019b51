"""Malicious task files: each causes an error that names the file and line, and none takes long."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import ehrtraj
from ehrtraj.dataset.dataset import Dataset
from ehrtraj.errors import EhrtrajError
from ehrtraj.labels import TaskError, label
from ehrtraj.labels.concepts import computable
from ehrtraj.labels.parse import parse_task
from ehrtraj.labels.predicates import Predicates
from ehrtraj.labels.ready import find_task, ready_tasks, task_text

GOOD = """description: A test.
predicates:
  admission: { code: { regex: "^ADMISSION//" } }
  death: { code: MEDS_DEATH }
trigger: admission
windows:
  input:
    start: trigger
    end: start + 24h
    start_inclusive: True
    end_inclusive: True
    index_timestamp: end
  target:
    start: input.end
    end: start + 30 days
    start_inclusive: False
    end_inclusive: True
    label: death
"""
DEATH = "  death: { code: MEDS_DEATH }\n"
END = "    end: start + 24h\n"
LABEL = "    label: death"


def laughs(levels: int, each: int = 10) -> str:
    """Return nested lists of aliases, which expand to each**levels words from a few lines."""
    lines = ["metadata:\n  - &a0 ['" + "ha" * 10 + "']\n"]
    lines += [f"  - &a{n} [{', '.join([f'*a{n - 1}'] * each)}]\n" for n in range(1, levels)]
    return "".join(lines)


def many_predicates(count: int) -> str:
    return DEATH + "".join(f"  p{n}: {{ code: A//{n} }}\n" for n in range(count))


def many_windows(count: int) -> str:
    window = "start: trigger, end: start + 1h, start_inclusive: True, end_inclusive: True"
    return "windows:\n" + "".join(f"  w{n}: {{ {window} }}\n" for n in range(count))


HOSTILE: dict[str, tuple[str, str, int, str]] = {
    "an alias as a key": ("metadata:\n  a: &a [1]\n  ? *a\n  : 2\n", "", 2, "a key must be a text"),
    "a key of aliases": (laughs(9) + "  - ? *a8\n    : 1\n", "", 7, "too large with its aliases expanded"),
    "aliases of aliases": (laughs(30), "", 7, "too large with its aliases expanded"),
    "a long text, many times": (
        "metadata:\n  - &a '" + "x" * 20_000 + "'\n  - [" + ", ".join(["*a"] * 40) + "]\n", "", 3, "too large",
    ),
    "merged aliases": (
        "metadata:\n  a0: &a0 {x: 1}\n" + "".join(
            f"  a{n}: &a{n}\n    <<: [{', '.join([f'*a{n - 1}'] * 20)}]\n" for n in range(1, 30)), "", 0, "",
    ),
    "an alias inside of itself": ("metadata: &a [*a]\n", "", 1, "an alias refers to a value that contains it"),
    "an alias of nothing": ("metadata: *a\n", "", 1, "found undefined alias"),
    "deep lists": ("metadata: " + "[" * 5000 + "]" * 5000 + "\n", "", 1, "more than 20 levels"),
    "deep mappings": ("metadata: " + "{a: " * 5000 + "}" * 5000 + "\n", "", 1, "more than 20 levels"),
    "deep blocks": ("metadata:\n" + "".join(" " * n + "- \n" for n in range(1, 400)), "", 21, "more than 20 levels"),
    "deep keys": ("? " * 5000 + "a\n", "", 1, "more than 20 levels"),
    "a date": (DEATH, "  death: { code: 2020-13-45, value_min: 2020-02-30 }\n", 4, "value_min must be a number"),
    "a huge integer": (DEATH, f"  death: {{ code: X, value_min: {'9' * 5000} }}\n", 4, "40 digits"),
    "a large integer": (DEATH, f"  death: {{ code: X, value_min: {'9' * 41} }}\n", 4, "40 digits"),
    "an integer of base 60": (DEATH, "  death: { code: X, value_min: " + "1" + ":59" * 3000 + " }\n", 4, "40 digits"),
    "not a number": (DEATH, "  death: { code: X, value_min: .nan }\n", 4, "value_min must be a number"),
    "a text for a boolean": (DEATH, "  death: { code: X, value_min_inclusive: 'False' }\n", 4, "must be True or False"),
    "a tag for Python": ("metadata: !!python/object/apply:os.system [ls]\n", "", 1, "tags such as"),
    "a tag that does not fit": ("metadata: !!int x\n", "", 1, "tags such as"),
    "not a character": ('metadata: "\\U00110000"\n', "", 1, "invalid YAML"),
    "half a character": (DEATH, '  death: { code: "\\ud800" }\n', 4, "half of a surrogate pair"),
    "a control character": (DEATH, "  death: { code: \x07 }\n", 4, "special characters are not allowed"),
    "two documents": ("metadata: 1\n---\n", "", 2, "but found another document"),
    "a list of lists of codes": (DEATH, "  death: { code: { any: [[A], {B: C}] } }\n", 4, "code must be"),
    "a list as a label": ("    label: death", "    label: [death]", 18, "there is no predicate"),
    "a list as a bound": (END, "    end: [start, 24h]\n", 9, "end must be a short text"),
    "a mapping as a column": (
        DEATH, "  death: { code: X, other_cols: { unit: [a] } }\n", 4, "unit must be a short text",
    ),
    "a name of a column": (DEATH, DEATH + "  subject_id: { code: X }\n", 5, "not a valid name of a predicate"),
    "a name for any event": (DEATH, DEATH + "  _ANY_EVENT: { code: X }\n", 5, "not a valid name of a predicate"),
    "a name that is a pattern": (DEATH, DEATH + "  ^.*$: { code: X }\n", 5, "not a valid name of a predicate"),
    "long days": (END, "    end: start + 999999999999d\n", 9, "is longer than 100 years"),
    "endless days": (END, f"    end: start + {'9' * 280}d\n", 9, "is longer than 100 years"),
    "days without end": (END, f"    end: start + {'9' * 200_000}\n", 9, "end must be a short text"),
    "a large count": (LABEL, f"    has: {{ death: (1, {'9' * 30}) }}\n{LABEL}", 18, "(least, most)"),
    "a huge count": (LABEL, f"    has: {{ death: (1, {'9' * 5000}) }}\n{LABEL}", 18, "(least, most)"),
    "1,000 predicates": (DEATH, many_predicates(1_000), 503, "1,002 predicates are too many: the maximum is 500"),
    "7,000 predicates": (DEATH, many_predicates(7_000), 5001, "more than 20,000 values"),
    "many windows": ("windows:\n", many_windows(200), 57, "202 windows are too many"),
    "twice itself": (
        DEATH, "  death: { expr: 'or(a0, a1)' }\n" + "".join(
            f"  a{n}: {{ expr: 'or(a{n + 1}, a{n + 2})' }}\n" for n in range(300)), 303, "there is no predicate a300",
    ),
    "a long circle": (
        DEATH, "  death: { expr: 'or(a0, a0)' }\n" + "".join(
            f"  a{n}: {{ expr: 'or(a{(n + 1) % 400}, admission)' }}\n" for n in range(400)), 0, "refers to itself",
    ),
    "a long list of nothing": (DEATH, f"  death: {{ expr: 'or({'a, ' * 20_000}b)' }}\n", 4, "there is no predicate a"),
    "much of nothing": (GOOD, "x" * 100_000, 0, "is not a task file"),
    "nothing": (GOOD, "", 0, "is not a task file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_error_of_a_malicious_task_names_the_line(kind: str) -> None:
    old, new, line, message = HOSTILE[kind]
    text = GOOD.replace(old, new) if old in GOOD else old + GOOD
    with pytest.raises(TaskError) as raised:
        parse_task(Path("mine.yaml"), text)
    actual = str(raised.value)
    assert actual.startswith(f"mine.yaml, line {line}: " if line else "mine.yaml"), actual
    assert message in actual
    assert len(actual) < 600


def test_large_but_valid_tasks_are_read(built: Path) -> None:
    chain = "".join(f"  a{n}: {{ expr: 'or(a{n + 1}, a{n + 1})' }}\n" for n in range(490)) + "  a490: { code: X }\n"
    assert len(parse_task(Path("mine.yaml"), GOOD.replace(DEATH, DEATH + chain)).predicates) == 493
    far = GOOD.replace("24h", "36525 days").replace("30 days", "36525d")
    assert label(ehrtraj.open(built), parse_task(Path("mine.yaml"), far)).table.height > 0
    anchored = GOOD.replace(DEATH, "  death: &death { code: MEDS_DEATH }\n  dead: *death\n")
    task = parse_task(Path("mine.yaml"), anchored)
    assert task.predicates["dead"].codes == ("MEDS_DEATH",)


NO_FILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda path: path.mkdir(), "mine.yaml is a folder"),
    "a pipe": (lambda path: os.mkfifo(path), "mine.yaml is not a regular file"),
    "a dangling link": (lambda path: path.symlink_to("missing"), "it is a link to missing, which does not exist"),
    "UTF-16": (lambda path: path.write_text(GOOD, encoding="utf-16"), "mine.yaml, line 1: not UTF-8"),
    "a NUL": (lambda path: path.write_text("a\n\0"), "mine.yaml, line 2: a NUL"),
    "large": (lambda path: path.write_text("#" * 300_000), "mine.yaml is too large"),
}


@pytest.mark.parametrize("kind", NO_FILE)
def test_the_error_for_a_path_that_is_not_a_task_file_names_it(kind: str, tmp_path: Path) -> None:
    make, message = NO_FILE[kind]
    make(tmp_path / "mine.yaml")
    with pytest.raises(TaskError, match=message):
        find_task(tmp_path / "mine.yaml")


def test_errors_found_with_the_dataset_name_file_and_line(built: Path) -> None:
    dataset = ehrtraj.open(built)
    for new, message in (
        ("{ code: X, other_cols: { colour: red } }", "events have no column colour"),
        ("{ code: { regex: '(' } }", "not a valid regular expression"),
        ("{ code: { regex: '(a{1000}){1000}' } }", "not a valid regular expression"),
        ("{ code: CONCEPT//none//x }", "no value of a concept has the code"),
    ):
        task = parse_task(Path("my/mine.yaml"), GOOD.replace("{ code: MEDS_DEATH }", new))
        with pytest.raises(TaskError, match=rf"^my/mine.yaml, line 4: predicate death: .*{message}"):
            label(dataset, task)


# Mutations ------------------------------------------------------------------------------------------------------------

PIECES = [
    *("*", "&a ", "*a", "<<: *a", "? ", ": ", "- ", "[", "]", "{", "}", "'", '"', "|", ">", "#", "!!int ", "!x ", "%"),
    *("\t", "\n", " ", "\r", "\0", "\x85", "\u2028", "\ufeff", "é", "\\ud800", "\\x00", "---\n", "...\n", "~", "null"),
    *("0x", "0b1", "1_0", "1:30", "-1", ".inf", ".nan", "1e999", "9" * 50, "2020-13-45", "999999999999d", "12:30:45.1"),
    *("True", "no", "start", "end", "trigger", "->", "<-", "+ 1h", "- 1d", "_RECORD_END", "_ANY_EVENT", "subject_id"),
    *("and(", "or(a, b)", ",", "(None, 1)", "(1, None)", "regex: '('", "any: []", "code: ", "expr: ", "has: "),
]  # fmt: skip


def try_tasks(mutated: Callable[..., bytes], seed: int, count: int, folder: Path, dataset: Dataset) -> tuple[int, int]:
    """Read mutated tasks, and label with some of those that are valid; return the number of both.

    Errors other than ours are raised.
    """
    chance = random.Random(seed)
    sources = [GOOD, *(task_text(name) for name in ready_tasks())]
    path, read, labelled = folder / "mine.yaml", 0, 0
    concepts = computable(dataset)
    assert concepts is not None
    known = concepts.codes()
    for _ in range(count):
        path.write_bytes(mutated(chance, chance.choice(sources), PIECES))
        try:
            task = find_task(path)
            read += 1
            Predicates(task, dataset.codes["code"], known)
            if read % 5 == 0:
                label(dataset, task).table.rows()
                labelled += 1
        except EhrtrajError as error:
            assert "mine.yaml" in str(error), error
    return read, labelled


def test_mutated_tasks_raise_only_our_errors(tmp_path: Path, built: Path, mutations: ModuleType) -> None:
    count = int(os.environ.get("EHRTRAJ_FUZZ_TASKS", "200"))
    read, labelled = try_tasks(mutations.mutated, 12, count, tmp_path, ehrtraj.open(built))
    assert read > count // 20 and labelled
