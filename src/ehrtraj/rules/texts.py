"""The rule tables of texts: what stands where a number is expected, and what the laboratory remarks about a result.

`text_forms.csv`, `text_results.csv` and `text_remarks.csv`, read into one object for each event type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ehrtraj.rules import Read

FormKind = Literal["number", "bound", "range", "result"]


@dataclass(frozen=True)
class Form:
    """A way to write what is not a plain number.

    Attributes:
        kind: `number`, `bound`, `range` or `result` (words that are a result as they stand).
        operator: of a bound: `<`, `<=`, `>` or `>=`.
        pattern: regular expression (RE2) for the whole text, without regard to case; its groups are named `number`,
            `bound`, `low` and `high`.
    """

    kind: FormKind
    operator: str
    pattern: str


@dataclass(frozen=True)
class Remark:
    """Something that a text says about a result.

    Attributes:
        kind: the attribute that it goes to, `status` or `caveat`.
        name: what that attribute says then.
        pattern: regular expression (RE2) for a part of the text, without regard to case.
        unless: as pattern, for texts that deny it; empty for none.
        no_result: whether a text that says so is no result.
    """

    kind: str
    name: str
    pattern: str
    unless: str
    no_result: bool


@dataclass
class TextRules:
    """The rules for the texts of one event type.

    Attributes:
        forms: in the order in which they are tried.
        results: words that are a result, in capitals.
        remarks: in the order in which an event names them.
    """

    forms: list[Form] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)


def text_rules(read: Read, read_special_first: Read) -> dict[str, TextRules]:
    """Return the rules for texts by event type.

    Args:
        read: reads a rule table of the source; a later remark takes the place of one of the same kind and name.
        read_special_first: the same with the user's lines first: the first form that fits counts.
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
        remark = Remark(line["kind"], line["name"], line["pattern"], line["unless"], line["no_result"] == "yes")
        remarks |= {(event_type, remark.kind, remark.name): remark for event_type in line["event_types"].split()}
    for (event_type, _, _), remark in remarks.items():
        found.setdefault(event_type, TextRules()).remarks.append(remark)
    return found
