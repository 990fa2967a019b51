"""Find words and phrases that the project does not use, as `style_words.csv` lists them.

Each line of the list has what to avoid, what to use in its place, the files that it holds for (patterns, all if empty)
and why. A line whose `use` is empty allows the words in its files, `*` everything. A phrase matches complete words in
any case, also across a line break. With the scope `names`, it matches parts of snake_case and CamelCase names too.

    python tests/style.py
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORDS = ROOT / "tests" / "style_words.csv"
FILES = ("*.md", "*.toml", "src/**/*", "tests/**/*", "docs/**/*", "examples/**/*", "benchmarks/**/*")
ENDINGS = (".py", ".sql", ".md", ".toml", ".yaml", ".yml", ".csv")
EVERYTHING = "*"
CITATIONS = "source"
"""Column of a CSV file that names or quotes what others wrote."""
_LINE_BREAK = r"(?:\s|#|--|\*)+"
_NAME_STARTS, _NAME_ENDS = r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))", r"(?:(?![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
_NAME_GAP = r"(?:\s|#|--|\*|_|(?=[A-Z]))+"


@dataclass(frozen=True)
class Entry:
    """A line of the list."""

    avoid: str
    use: str
    names: bool
    files: tuple[str, ...]
    why: str

    def holds_for(self, file: str) -> bool:
        return not self.files or any(fnmatch(file, pattern) for pattern in self.files)

    def pattern(self) -> re.Pattern[str]:
        words = [f"(?i:{re.escape(word)})" for word in self.avoid.split()]
        if self.names:
            return re.compile(_NAME_STARTS + _NAME_GAP.join(words) + _NAME_ENDS)
        return re.compile(r"(?<!\w)" + _LINE_BREAK.join(words) + r"(?!\w)")


def read_words(text: str) -> list[Entry]:
    """The lines of a list."""
    rows = csv.DictReader(io.StringIO(text))
    return [Entry(r["avoid"], r["use"], r["scope"] == "names", tuple(r["where"].split()), r["why"]) for r in rows]


def hits(file: str, text: str, entries: Iterable[Entry]) -> Iterator[tuple[int, str, str]]:
    """The line, the words found and what to use, for each hit in a file."""
    entries = [entry for entry in entries if entry.holds_for(file)]
    allowed = {entry.avoid for entry in entries if not entry.use}
    if EVERYTHING in allowed:
        return
    text = _without_citations(text) if file.endswith(".csv") else text
    lowered = text.lower()
    for entry in entries:
        # Patterns are slow: most words are in few files.
        if entry.avoid not in allowed and entry.avoid.split()[0].lower() in lowered:
            for found in entry.pattern().finditer(text):
                yield text.count("\n", 0, found.start()) + 1, " ".join(found[0].split()), entry.use


def _without_citations(text: str) -> str:
    """A CSV file's cells without the citations, a row a line."""
    rows = csv.DictReader(io.StringIO(text))
    cells = (" ".join(str(cell) for name, cell in row.items() if name != CITATIONS) for row in rows)
    return "\n".join([",".join(rows.fieldnames or ()), *(" ".join(row.split()) for row in cells)])


def main() -> int:
    """Print each hit of the project's files. Return 1 if there is one."""
    entries = read_words(WORDS.read_text(encoding="utf-8"))
    found = 0
    for path in sorted(path for pattern in FILES for path in ROOT.glob(pattern) if path.suffix in ENDINGS):
        file = path.relative_to(ROOT).as_posix()
        for line, words, use in sorted(hits(file, path.read_text(encoding="utf-8"), entries)):
            print(f"{file}:{line}: '{words}': use {use}")
            found += 1
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
