"""The changes that CONTRIBUTING.md describes, applied exactly as on the page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import ModuleType

from ehrtraj.exports.text import TextFormat
from ehrtraj.recipes.columns import problem_of_columns
from ehrtraj.rules.figures import problem_of_limits
from ehrtraj.sources.source import find_source, packaged

PAGE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"
MIMIC = packaged("mimiciv")


def blocks(language: str) -> list[str]:
    """Return the indented code blocks of a language, in their order."""
    found = re.findall(rf"^    ```{language}\n(.*?)^    ```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return [re.sub(r"^    ", "", block, flags=re.M) for block in found]


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_the_table_and_the_limit_of_the_page_are_valid(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MIMIC.folder, tmp_path / "mimiciv"))
    columns, concept, limit = blocks("csv")
    (recipe,) = blocks("sql")
    append(folder / "releases" / "mimiciv" / "3.1.csv", columns)
    append(folder / "rules" / "concepts.csv", concept)
    append(folder / "rules" / "limits.csv", limit)
    (folder / "recipes" / "hosp" / "allergies.sql").write_text(recipe, encoding="utf-8")

    source = find_source(str(folder))
    assert list(source.tables) == [*MIMIC.tables, "hosp/allergies"]
    assert problem_of_columns(source.recipes["hosp/allergies"], source.tables["hosp/allergies"].columns) is None
    added = source.rules("limits")[-1]
    assert (added["item"], problem_of_limits(added)) == ("50905", None)
    item = {(line["event_type"], line["item"]) for name in ("units", "concepts") for line in source.rules(name)}
    assert (added["event_type"], added["item"]) in item
    assert added["item"] not in {line["item"] for line in MIMIC.rules("limits")}


def test_the_example_of_the_table_shows_its_events(
    tmp_path: Path, recipe_examples: ModuleType, recipe_mutations: ModuleType
) -> None:
    folder = Path(shutil.copytree(MIMIC.folder, tmp_path / "mimiciv"))
    (recipe,) = blocks("sql")
    rows, events = blocks("yaml")
    append(folder / "releases" / "mimiciv" / "3.1.csv", blocks("csv")[0])
    (folder / "recipes" / "hosp" / "allergies.sql").write_text(recipe, encoding="utf-8")
    (folder / "recipes" / "hosp" / "allergies.example.yaml").write_text(rows, encoding="utf-8")

    source = find_source(str(folder))
    cases = recipe_examples.read_cases(source, "hosp/allergies")
    built = recipe_examples.Built(source, cases, tmp_path)
    first, second = recipe_examples.with_outcome(rows, map(built.outcome, cases)).split("\n\n")
    assert first.endswith(events.removesuffix("\n"))
    assert "  events: []\n  rejected:\n" in second

    shown = recipe_examples.rows_of(cases, source.tables)
    typed = {name: recipe_mutations.typed(source.tables[name], of_table) for name, of_table in shown.items()}
    with recipe_mutations.session(source) as connection:
        mutator = recipe_mutations.Mutator(source, connection, source.recipes["hosp/allergies"], typed)
        assert list(mutator.without_effect()) == []


def test_the_export_format_of_the_page_is_valid() -> None:
    (code,) = blocks("python")
    module: dict[str, object] = {}
    exec(compile(code, "toy.py", "exec"), module)
    assert isinstance(module["FORMAT"], TextFormat)
