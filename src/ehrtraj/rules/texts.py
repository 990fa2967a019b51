"""The rule tables of texts: texts in place of numbers, and the laboratory's remarks about results.

`text_forms.csv`, `text_results.csv` and `text_remarks.csv` are read into one object per event type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ehrtraj.rules import Read

FormKind = Literal["number", "bound", "range", "result"]


@dataclass(frozen=True)
class Form:
    """A form of text for a value that is not a plain number.

    Attributes:
        kind: `number`, `bound`, `range` or `result` (words that are themselves a result).
        operator: operator of a bound: `<`, `<=`, `>` or `>=`.
        pattern: case-insensitive regular expression (RE2) for the complete text; its groups are named `number`,
            `bound`, `low` and `high`. With a group `unit`, the text must have a known unit, or none.
    """

    kind: FormKind
    operator: str
    pattern: str


@dataclass(frozen=True)
class Remark:
    """A remark in a text about a result.

    Attributes:
        kind: the attribute that receives it, `status` or `caveat`.
        name: value of that attribute.
        pattern: case-insensitive regular expression (RE2) for a part of the text.
        unless: pattern of texts that deny the remark; empty if none do.
        no_result: whether such a text means that there is no result.
        empty: whether such a text is written in an empty field: a result in the comment then counts.
    """

    kind: str
    name: str
    pattern: str
    unless: str
    no_result: bool
    empty: bool


@dataclass
class TextRules:
    """The rules for the texts of one event type.

    Attributes:
        forms: forms in the order in which they are tried.
        results: words that are a result, in upper case.
        remarks: remarks in the order in which an event lists them.
    """

    forms: list[Form] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)


def text_rules(read: Read, read_special_first: Read) -> dict[str, TextRules]:
    """Return the rules for texts by event type.

    Args:
        read: function that reads a rule table of the source; a later remark replaces one of the same kind and name.
        read_special_first: the same function with the user's lines first, because the first matching form is used.
    """
    found: dict[str, TextRules] = {}
    for line in read_special_first("text_forms"):
        form = Form(line["form"], line["operator"], line["pattern"])  # type: ignore[arg-type]
        for event_type in line["event_types"].split():
            found.setdefault(event_type, TextRules()).forms.append(form)
    for line in read("text_results"):
        for event_type in line["event_types"].split():
            found.setdefault(event_type, TextRules()).results.append(line["text"].upper())
    remarks: dict[tuple[str, str, str], Remark] = {}
    for line in read("text_remarks"):
        no_result, empty = line["no_result"] != "no", line["no_result"] == "empty"
        remark = Remark(line["kind"], line["name"], line["pattern"], line["unless"], no_result, empty)
        remarks |= {(event_type, remark.kind, remark.name): remark for event_type in line["event_types"].split()}
    for (event_type, _, _), remark in remarks.items():
        found.setdefault(event_type, TextRules()).remarks.append(remark)
    return found
