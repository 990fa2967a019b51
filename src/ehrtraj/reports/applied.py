"""What each rule did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ehrtraj import rules
from ehrtraj.reports.files import DatasetFiles, counts_by
from ehrtraj.reports.masking import Masking, Shown

_MOST_CODES = 5


@dataclass(frozen=True)
class Example:
    """What a rule did to one value, for private reports.

    Attributes:
        code: code of the event.
        before: the source's value and unit.
        after: value, unit and text of the event.
    """

    code: str
    before: str
    after: str


@dataclass(frozen=True)
class RuleFacts:
    """What one rule did.

    Attributes:
        name: of the rule, which is the name of its flag.
        meaning: of the flag.
        events: number of events.
        tables: tables of these events.
        codes: number of codes of these events.
        most: the codes with most of these events, with their description and number.
        examples: of private reports.
    """

    name: str
    meaning: str
    events: Shown
    tables: tuple[str, ...]
    codes: Shown
    most: tuple[tuple[str, str, Shown], ...]
    examples: tuple[Example, ...]


def rule_facts(
    files: DatasetFiles, nameable: Mapping[str, str], masking: Masking, *, with_examples: bool
) -> tuple[RuleFacts, ...]:
    """Return what each rule did, the rule with most events first.

    Args:
        files: files of the dataset.
        nameable: description of each code that may be named.
        masking: how counts are shown.
        with_examples: whether to add examples.
    """
    by_rule: dict[str, list[dict[str, Any]]] = {}
    by_code = counts_by(files.applied, ["rule", "code"], "events")
    for (rule, code), number in by_code.items():
        by_rule.setdefault(rule, []).append({"code": code, "events": number})
    tables: dict[str, set[str]] = {}
    for rule, table in counts_by(files.applied, ["rule", "source_table"], "events"):
        tables.setdefault(rule, set()).add(table)
    examples = _examples(files.applied) if with_examples else {}
    found = []
    for rule, codes in by_rule.items():
        most = _most(codes, nameable, masking)
        events = _total(codes, most, masking)
        found.append(
            RuleFacts(
                name=rule,
                meaning=files.meanings_of_flags.get(rule, rules.SPELLED),
                events=events,
                tables=tuple(sorted(tables[rule])),
                codes=masking.codes(len(codes), events),
                most=most,
                examples=tuple(examples.get(rule, ())),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.events.size, one.name)))


def _most(
    codes: list[dict[str, Any]], nameable: Mapping[str, str], masking: Masking
) -> tuple[tuple[str, str, Shown], ...]:
    """Return the codes that a rule affected most, if they may be named and their number may be shown."""
    shown = [
        (one["code"], nameable[one["code"]], masking.count(one["events"])) for one in codes if one["code"] in nameable
    ]
    shown = [one for one in shown if not one[2].masked]
    return tuple(sorted(shown, key=lambda one: (-one[2].size, one[0]))[:_MOST_CODES])


def _total(codes: list[dict[str, Any]], most: tuple[tuple[str, str, Shown], ...], masking: Masking) -> Shown:
    """Return the number of events of a rule: those of the codes that are shown, and those of all others together."""
    named = {code for code, _, _ in most}
    shown = [one["events"] for one in codes if one["code"] in named]
    rest = sum(one["events"] for one in codes if one["code"] not in named)
    return masking.total(sum(shown) + rest, [*shown, rest])


def _examples(applied: pa.Table) -> dict[str, list[Example]]:
    """Return a few examples of each rule, of the codes with most events."""
    found: dict[str, list[Example]] = {}
    ordered = applied.sort_by([("rule", "ascending"), ("events", "descending"), ("code", "ascending")])
    for row in ordered.to_pylist():
        examples = found.setdefault(row["rule"], [])
        if len(examples) < _MOST_CODES:
            number = row["example_numeric_value"]
            after = (None if number is None else f"{number:g}", row["unit"], row["example_text_value"])
            examples.append(Example(row["code"], _joined(row["example_raw_value"], row["raw_unit"]), _joined(*after)))
    return found


def _joined(*texts: str | None) -> str:
    return " ".join(text for text in texts if text)
