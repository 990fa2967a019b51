"""Draw the ledger as a flow from the tables to what became of their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ehrtraj.reports.ledger import DICTIONARY, EVENTS, KINDS, LedgerFacts

_MOST_TABLES = 14
_MOST_OUTCOMES = 8
_OTHER_TABLES = "other tables"
_OTHER_REASONS = "rejected: other reasons"

WIDTH = 760
_LEFT, _RIGHT, _NODE = 240.0, 535.0, 8.0
_FLOW_HEIGHT = 280.0
_THINNEST = 1.5
"""Lines of fewer rows are as thick, so that they are visible."""
_TEXT_HEIGHT = 17.0
_TOP = 24.0

Key = tuple[str, str]
"""Kind and label of an outcome."""


@dataclass(frozen=True)
class Node:
    """A table on the left, or an outcome on the right.

    Attributes:
        label: its text.
        count: its number of rows; empty if it is not known.
        kind: kind of an outcome; empty for a table.
        x, y, height: its bar.
        text_y: middle of its text.
    """

    label: str
    count: str
    kind: str
    x: float
    y: float
    height: float
    text_y: float


@dataclass(frozen=True)
class Link:
    """The rows of a table that have one outcome.

    Attributes:
        kind: kind of the outcome.
        path: data of the SVG path.
        title: what the browser shows at the pointer.
    """

    kind: str
    path: str
    title: str


@dataclass(frozen=True)
class Flow:
    """The diagram.

    Attributes:
        width, height: of the drawing.
        nodes: tables and outcomes.
        links: between them.
        node_width: width of the bars.
    """

    width: int
    height: int
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    node_width: float = _NODE


def draw_flow(ledger: LedgerFacts) -> Flow:
    """Return the diagram of a ledger. Tables with few rows are drawn together, and so are rare reasons.

    Args:
        ledger: the ledger, with counts as they are shown.
    """
    sizes, titles = _sizes(ledger)
    tables = list(dict.fromkeys(table for table, _ in sizes))
    keys = sorted({key for _, key in sizes}, key=lambda key: (KINDS.index(key[0]), -_of(sizes, key), key[1]))
    all_rows = sum(sizes.values()) or 1
    thick = {pair: max(_THINNEST, size * _FLOW_HEIGHT / all_rows) for pair, size in sizes.items()}
    counts = _counts(ledger)
    left = _column([(t, counts.get(t, ""), "") for t in tables], [_sum(thick, table=t) for t in tables], _LEFT)
    named = [(label, counts.get(label, ""), kind) for kind, label in keys]
    right = _column(named, [_sum(thick, key=key) for key in keys], _RIGHT)
    from_y = {table: node.y for table, node in zip(tables, left, strict=True)}
    to_y = {key: node.y for key, node in zip(keys, right, strict=True)}
    links = []
    for table in tables:
        for key in keys:
            if (table, key) in thick:
                width = thick[table, key]
                path = _band(from_y[table], to_y[key], width)
                links.append(Link(key[0], path, f"{table}, {key[1]}: {titles[table, key]}"))
                from_y[table] += width
                to_y[key] += width
    bottom = max((node.text_y + _TEXT_HEIGHT for node in (*left, *right)), default=0)
    bottom = max([bottom, *(node.y + node.height for node in (*left, *right))])
    return Flow(WIDTH, round(bottom) + 8, (*left, *right), tuple(links))


def _sizes(ledger: LedgerFacts) -> tuple[dict[tuple[str, Key], int], dict[tuple[str, Key], str]]:
    """Return the size and the text of each link, in the order of the tables."""
    reasons: dict[Key, int] = defaultdict(int)
    for table in ledger.tables:
        for outcome in table.outcomes:
            reasons[outcome.kind, outcome.label] += outcome.rows.size
    frequent = sorted(reasons, key=lambda key: (key[0] == "rejected", -reasons[key], key[1]))[:_MOST_OUTCOMES]
    sizes: dict[tuple[str, Key], int] = defaultdict(int)
    texts: dict[tuple[str, Key], list[str]] = defaultdict(list)
    for n, table in enumerate(ledger.tables):
        few = n >= _MOST_TABLES - 1 and len(ledger.tables) > _MOST_TABLES
        for outcome in table.outcomes:
            key = (outcome.kind, outcome.label)
            key = key if key in frequent else (outcome.kind, _OTHER_REASONS)
            pair = (_OTHER_TABLES if few else table.name, key)
            sizes[pair] += outcome.rows.size
            texts[pair].append(f"{outcome.rows} rows")
    titles = {pair: one[0] if len(one) == 1 else "several lines of the table below" for pair, one in texts.items()}
    return dict(sizes), titles


def _counts(ledger: LedgerFacts) -> dict[str, str]:
    """Return the text of the number of rows of each table, and of each outcome whose number is in the ledger."""
    counts = {table.name: table.read.text for table in ledger.tables}
    by_label: dict[str, list[str]] = defaultdict(list)
    for table in ledger.tables:
        for outcome in table.outcomes:
            by_label[outcome.label].append(outcome.rows.text)
    counts |= {label: texts[0] for label, texts in by_label.items() if len(texts) == 1}
    return counts | {EVENTS: ledger.total.became_events.text, DICTIONARY: ledger.total.dictionary.text}


def _of(sizes: Mapping[tuple[str, Key], int], key: Key) -> int:
    return sum(size for (_, other), size in sizes.items() if other == key)


def _sum(thick: Mapping[tuple[str, Key], float], table: str | None = None, key: Key | None = None) -> float:
    return sum(t for (one, other), t in thick.items() if table in (None, one) and key in (None, other))


def _column(labels: Sequence[tuple[str, str, str]], heights: Sequence[float], x: float) -> list[Node]:
    """Place nodes below each other, each at least as high as its text. A label has a count and a kind."""
    nodes, y = [], _TOP
    for label, height in zip(labels, heights, strict=True):
        slot = max(height, _TEXT_HEIGHT)
        nodes.append(Node(*label, x, y + (slot - height) / 2, height, y + slot / 2))
        y += slot + 3
    return nodes


def _band(y: float, to_y: float, width: float) -> str:
    """Return a curved band from the bar of a table to the bar of an outcome."""
    start, end = _LEFT + _NODE, _RIGHT
    middle = (start + end) / 2
    return (
        f"M{start:.0f} {y:.1f}C{middle:.0f} {y:.1f} {middle:.0f} {to_y:.1f} {end:.0f} {to_y:.1f}"
        f"V{to_y + width:.1f}C{middle:.0f} {to_y + width:.1f} {middle:.0f} {y + width:.1f} {start:.0f} {y + width:.1f}Z"
    )
