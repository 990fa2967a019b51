"""Datasets whose reports are tested, and a reader of their pages."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrtraj
from ehrtraj.enrich.run import add_concepts

HOSTILE = "<script>alert('x')</script>\x1b[31m"
WITHOUT_END = ("meta", "br", "rect", "path")


@dataclass
class Page:
    """The content of a page.

    Attributes:
        counts: texts of the elements with the class n.
        texts: texts outside of elements with the class n or v, with the names of the elements around them.
        tags: names of all elements.
        attributes: name of the element, name and value of each attribute.
        tables: cells of each table by its caption.
    """

    counts: list[str] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._open: list[tuple[str, set[str]]] = []
        self._rows: list[list[str]] = []
        self._caption = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append(tag)
        self.page.attributes += [(tag, name, value or "") for name, value in attrs]
        classes = set((dict(attrs).get("class") or "").split())
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        if tag == "th":
            classes.discard("n")  # it aligns the heading of a column
        if "n" in classes and "v" not in classes:
            self.page.counts.append("")
        if tag not in WITHOUT_END:
            self._open.append((tag, classes))

    def handle_endtag(self, tag: str) -> None:
        if tag in WITHOUT_END:
            return
        opened, _ = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        if tag == "table":
            assert self._caption not in self.page.tables
            self.page.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self._open]
        classes = {name for _, names in self._open for name in names}
        if "caption" in tags:
            self._caption += data
        if "td" in tags or "th" in tags:
            self._rows[-1][-1] += data
        if "v" in classes or "style" in tags:
            return
        if "n" in classes:
            self.page.counts[-1] += data
        elif data.strip():
            self.page.texts.append((" ".join(tags), data))

    def close(self) -> None:
        super().close()
        assert not self._open, self._open


def read_page(content: bytes) -> Page:
    """Read a page. All its elements must be closed in the right order."""
    reader = _Reader()
    reader.feed(content.decode())
    reader.close()
    return reader.page


@pytest.fixture(scope="session")
def page_of() -> Callable[[bytes], Page]:
    """Return the function that reads a page."""
    return read_page


@pytest.fixture(scope="session")
def enriched(several_shards_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that includes concepts as events. Tests must not change it."""
    folder = tmp_path_factory.mktemp("enriched")
    dataset = shutil.copytree(several_shards_built, folder / "v1")
    layout = ehrtraj.open(dataset).layout
    return add_concepts(layout, folder / "enriched", ["vitalsign", "chemistry"], max_cpus=1).path


def _counts(dice: random.Random) -> Iterator[int]:
    """Yield counts, of which many are small."""
    while True:
        yield dice.choice((dice.randint(1, 9), dice.randint(1, 9), dice.randint(10, 99), dice.randint(100, 30_000)))


@pytest.fixture(scope="session")
def crowded(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose small tables contain other counts, as if there were many patients. Tests must not change it."""
    dataset = Path(shutil.copytree(built, tmp_path_factory.mktemp("crowded") / "crowded"))
    dice = random.Random(7)
    counts = _counts(dice)
    tables = {
        name: pq.read_table(dataset / name)
        for name in (
            "ledger.parquet",
            "rules_applied.parquet",
            "tallies/numbers.parquet",
            "tallies/times.parquet",
            "metadata/codes.parquet",
            "metadata/subjects.parquet",
        )
    }
    codes = tables["metadata/codes.parquet"].to_pylist()
    for code in codes:
        code["n_events"] = next(counts)
        code["n_subjects"] = min(code["n_events"], next(counts))
        code["description"] = f"{HOSTILE} {code['description']}"
    bins = []
    for code in codes[::2]:
        low = dice.choice((1.0, 8.0, 40.0))
        for place in range(dice.randint(1, 30)):
            before = next(counts) if dice.random() < 0.8 else dice.randint(1, 9)
            after = before if dice.random() < 0.7 else min(before, next(counts))
            step = low * 0.125
            bins.append({"code": code["code"], "low": low + place * step, "high": low + (place + 1) * step,
                         "before": before, "after": after})  # fmt: skip
    types = sorted({code["event_type"] for code in codes})
    times = [
        {"event_type": name, "from_day": 2**n // 2, "to_day": 2**n, "events": next(counts)}
        for name in types
        for n in range(dice.randint(1, 14))
    ]
    applied = tables["rules_applied.parquet"].to_pylist() * 2
    for row, code in zip(applied, dice.choices(codes, k=len(applied)), strict=True):
        row |= {"events": next(counts), "code": code["code"], "example_raw_value": "a value of a patient"}
    applied = list({(row["rule"], row["code"]): row for row in applied}.values())
    subjects = tables["metadata/subjects.parquet"].to_pylist() * 9
    ledger = []
    for name in sorted(set(tables["ledger.parquet"]["table"].to_pylist())):
        parts = [("events", None)] + [("rejected", f"reason_{r}") for r in "abcde" if dice.random() < 0.4]
        lines = [{"table": name, "outcome": o, "reason": r, "rows": next(counts), "events": None} for o, r in parts]
        lines[0]["events"] = lines[0]["rows"]
        total = sum(line["rows"] for line in lines)
        ledger += [{"table": name, "outcome": "read", "reason": None, "rows": total, "events": None}, *lines]
    content = {
        "metadata/codes.parquet": codes,
        "tallies/numbers.parquet": bins,
        "tallies/times.parquet": times,
        "rules_applied.parquet": applied,
        "metadata/subjects.parquet": subjects,
        "ledger.parquet": ledger,
    }
    for name, rows in content.items():
        pq.write_table(pa.Table.from_pylist(rows, schema=tables[name].schema), dataset / name)
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["warnings"] = [f"hosp/labevents: 7 of 14 rows were rejected {HOSTILE}", "missing: 10000032"]
    manifest["notes"] = ["/home/someone/chosen.csv: 5 of 23 subject IDs are in this release"]
    for file in manifest["contents"]:
        manifest["contents"][file]["bytes"] = (dataset / file).stat().st_size
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    return dataset
