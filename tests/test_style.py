"""The list of words that the project does not use: what `style.py` finds with it, and what it allows."""

from __future__ import annotations

from types import ModuleType

import pytest

LIST = """avoid,use,scope,where,why
told,shown,names,,
set aside,rejected,,,
__defaults__,an argument,,tests/*.py,
told,,,src/notes.py,a clinical text
*,,,src/names/*.csv,names
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nothing\nit was Told.", [(2, "Told", "shown")]),
        ("def is_told_wrong(): ...", [(1, "told", "shown")]),
        ("class HeToldMe: ...", [(1, "Told", "shown")]),
        ("untold, TOLDO, told2me, retold_", [(1, "told", "shown")]),
        ("# rows are set\n    # aside", [(1, "set # aside", "rejected")]),
        ("-- rows are set aside, asset aside", [(1, "set aside", "rejected")]),
        ("set_aside = SetAside", []),
    ],
)
def test_a_planted_word_is_found(style: ModuleType, text: str, found: list[tuple[int, str, str]]) -> None:
    assert list(style.hits("src/some.py", text, style.read_words(LIST))) == found


def test_a_word_is_allowed_only_in_the_files_of_its_line(style: ModuleType) -> None:
    words = style.read_words(LIST)
    assert list(style.hits("src/notes.py", "told", words)) == []
    assert len(list(style.hits("src/notes.py", "set aside", words))) == 1
    assert list(style.hits("src/names/a.csv", "set aside", words)) == []
    assert len(list(style.hits("src/names/a.sql", "set aside", words))) == 1


def test_a_word_is_avoided_only_in_the_files_of_its_line(style: ModuleType) -> None:
    words = style.read_words(LIST)
    assert len(list(style.hits("tests/a.py", "f.__defaults__", words))) == 1
    assert list(style.hits("src/a.py", "f.__defaults__", words)) == []


def test_citations_of_a_csv_file_are_not_looked_at(style: ModuleType) -> None:
    text = 'flag,meaning,source\na,"one, two","told\nby someone"\nb,he told,x\n'
    assert list(style.hits("src/flags.csv", text, style.read_words(LIST))) == [(3, "told", "shown")]


def test_each_line_of_the_list_has_a_reason_and_finds_its_own_words(style: ModuleType) -> None:
    entries = style.read_words(style.WORDS.read_text(encoding="utf-8"))
    for entry in entries:
        assert entry.why, entry
        assert not entry.use or entry.pattern().search(f"({entry.avoid})"), entry
