"""Parse a task file in the ACES task language (es-aces 0.7), with the features that docs/guides/labels.md lists."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from math import isnan
from pathlib import Path

from ehrtraj.labels.errors import TaskError
from ehrtraj.labels.task import (
    ANY_EVENT,
    RECORD_END,
    RECORD_START,
    TRIGGER,
    Boundary,
    CodePredicate,
    Combination,
    Predicate,
    Task,
    Window,
)
from ehrtraj.labels.yaml_lines import YamlMapping, read_yaml

_TOP = ("description", "metadata", "predicates", "trigger", "windows")
_PREDICATE = ("code", "value_min", "value_max", "value_min_inclusive", "value_max_inclusive", "other_cols", "expr")
_WINDOW = ("start", "end", "start_inclusive", "end_inclusive", "has", "label", "index_timestamp")
_MOST_PREDICATES = 500
_MOST_WINDOWS = 50
_LONGEST_TEXT = 300
_LONGEST_DURATION = 100 * 365.25 * 86_400_000_000
_RESERVED = ("subject_id", "time", ANY_EVENT, RECORD_START, RECORD_END)
_COUNTS = re.compile(r"\(?\s*([0-9]{1,9}|None|)\s*,\s*([0-9]{1,9}|None|)\s*\)?")
# polars treats * and ^ as patterns, and expressions are split at commas and brackets.
_NAME = re.compile(r"[^\s*^,()\x00-\x1f][^*^,()\x00-\x1f]{0,99}")
_REFERENCE = re.compile(r"\w+(\.(start|end))?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_UNITS = {
    names: seconds * 1_000_000
    for many, seconds in (
        (("w", "wk", "wks", "week", "weeks"), 604_800),
        (("d", "dy", "dys", "day", "days"), 86_400),
        (("h", "hr", "hrs", "hour", "hours"), 3_600),
        (("m", "min", "mins", "minute", "minutes"), 60),
        (("s", "sec", "secs", "second", "seconds"), 1),
    )
    for names in many
}


def parse_task(path: Path, text: str) -> Task:
    """Parse a task.

    Args:
        path: path of the file, for messages and the name of the task.
        text: content of the file.

    Raises:
        TaskError: if the task is invalid or uses an unsupported feature. The message names the line.
    """
    return _Parser(path, text).task()


class _Parser:
    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.top = read_yaml(path, text)

    def _error(self, line: int, message: str) -> TaskError:
        return TaskError(f"{self.path}, line {line}: {message}")

    def _check_size(self, block: YamlMapping, most: int, items: str) -> None:
        if len(block) > most:
            line = list(block.lines.values())[most]
            raise self._error(line, f"{len(block):,} {items} are too many: the maximum is {most}")

    def _check_keys(self, block: YamlMapping, allowed: tuple[str, ...], element: str) -> None:
        for key, line in block.lines.items():
            if key in ("static", "patient_demographics"):
                raise self._error(
                    line, f"{key} is not supported: select patients in Python with filter(), or run ACES itself"
                )
            if key not in allowed:
                raise self._error(
                    line, f"{element} has no key '{_truncated(key)}': the valid keys are {', '.join(allowed)}"
                )

    def _block(self, parent: YamlMapping, key: str) -> YamlMapping:
        value = parent.get(key)
        if not isinstance(value, YamlMapping):
            line = parent.lines.get(key, parent.line)
            raise self._error(line, f"'{key}' is missing" if value is None else f"'{key}' must be a mapping")
        return value

    def task(self) -> Task:
        self._check_keys(self.top, _TOP, "a task")
        predicates = self._predicates(self._block(self.top, "predicates"))
        trigger = self.top.get("trigger")
        if not isinstance(trigger, str) or trigger not in predicates:
            line = self.top.lines.get("trigger", 1)
            known = _truncated(", ".join(predicates))
            raise self._error(line, f"trigger is '{_truncated(trigger)}': it must be one of the predicates {known}")
        windows = self._windows(self._block(self.top, "windows"), predicates)
        description = self.top.get("description")
        first = description.strip().splitlines()[:1] if isinstance(description, str) else []
        return Task(self.path.stem, "".join(first), predicates, trigger, windows, str(self.path))

    def _predicates(self, block: YamlMapping) -> dict[str, Predicate]:
        self._check_size(block, _MOST_PREDICATES, "predicates")
        read: dict[str, Predicate] = {}
        for name, line in block.lines.items():
            if not _NAME.fullmatch(name) or name in _RESERVED:
                raise self._error(
                    line,
                    f"'{_truncated(name)}' is not a valid name of a predicate: use letters, digits and _, at most 100",
                )
            read[name] = self._predicate(name, line, self._block(block, name))
        inputs_of = {name: one.inputs if isinstance(one, Combination) else () for name, one in read.items()}
        for name, inputs in inputs_of.items():
            if unknown := [other for other in inputs if other not in read]:
                raise self._error(read[name].line, f"there is no predicate {_truncated(unknown[0])}")
        try:
            return {name: read[name] for name in TopologicalSorter(inputs_of).static_order()}
        except CycleError as error:
            name = error.args[1][0]
            raise self._error(read[name].line, f"the definition of predicate {name} refers to itself") from None

    def _predicate(self, name: str, line: int, block: YamlMapping) -> Predicate:
        self._check_keys(block, _PREDICATE, "a predicate")
        if "expr" in block:
            match = re.fullmatch(r"(and|or)\((.*)\)", str(block["expr"]).strip())
            inputs = tuple(dict.fromkeys(part.strip() for part in match[2].split(","))) if match else ()
            if match is None or "," not in match[2] or not all(inputs):
                raise self._error(
                    block.lines["expr"], "expr must be and(a, b, ...) or or(a, b, ...), with names of predicates"
                )
            return Combination(name, line, inputs, every=match[1] == "and")
        if "code" not in block:
            raise self._error(line, f"predicate {name} has neither code nor expr")
        codes, regex = self._codes(block["code"], block.lines["code"])
        other = self._block(block, "other_cols") if "other_cols" in block else YamlMapping()
        return CodePredicate(
            name,
            line,
            codes,
            regex,
            self._number(block, "value_min"),
            self._number(block, "value_max"),
            self._boolean(block, "value_min_inclusive"),
            self._boolean(block, "value_max_inclusive"),
            {column: self._text(other, column) for column in other},
        )

    def _codes(self, definition: object, line: int) -> tuple[tuple[str, ...], str | None]:
        """Return the codes, or the regular expression, of a predicate."""
        if isinstance(definition, str) and definition:
            return (definition,), None
        if isinstance(definition, YamlMapping) and len(definition) == 1:
            kind, value = next(iter(definition.items()))
            if kind == "regex" and isinstance(value, str) and value:
                return (), value
            if (
                kind == "any"
                and isinstance(value, list)
                and value
                and not any(isinstance(v, list | dict) for v in value)
            ):
                return tuple(map(str, value)), None
        raise self._error(line, "code must be a code, {regex: ...} or {any: [code, ...]}")

    def _number(self, block: YamlMapping, key: str) -> float | None:
        value = block.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or isnan(value):
            raise self._error(block.lines[key], f"{key} must be a number, not '{_truncated(value)}'")
        return float(value)

    def _boolean(self, block: YamlMapping, key: str) -> bool:
        value = block.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._error(block.lines[key], f"{key} must be True or False")
        return bool(value)

    def _text(self, block: YamlMapping, key: str) -> str:
        """Return a value as text; it must be a short text or a number, not a list or a mapping."""
        text = "" if isinstance(block[key], list | dict) else str(block[key])
        if not 0 < len(text) <= _LONGEST_TEXT:
            raise self._error(block.lines[key], f"{_truncated(key)} must be a short text or a number")
        return text

    def _windows(self, block: YamlMapping, predicates: dict[str, Predicate]) -> tuple[Window, ...]:
        self._check_size(block, _MOST_WINDOWS, "windows")
        read = {name: self._window(name, block.lines[name], self._block(block, name), predicates) for name in block}
        for key in ("label", "index_timestamp"):
            count = sum(getattr(window, key) is not None for window in read.values())
            if count != 1:
                raise self._error(block.line, f"exactly one window must have {key}, but {count} have it")
        ordered: dict[str, Window] = {}

        def add(window: Window, dependents: tuple[str, ...]) -> None:
            name, _, side = window.outside.partition(".")
            if name in dependents or name == window.name:
                raise self._error(window.line, f"window {window.name} refers to itself")
            if side:
                if name not in read:
                    raise self._error(window.line, f"there is no window {name}")
                add(read[name], (*dependents, window.name))
            elif name != TRIGGER:
                raise self._error(window.line, f"'{name}' must be trigger, or the .start or .end of a window")
            ordered.setdefault(window.name, window)

        for window in read.values():
            add(window, ())
        return tuple(ordered.values())

    def _window(self, name: str, line: int, block: YamlMapping, predicates: dict[str, Predicate]) -> Window:
        self._check_keys(block, _WINDOW, "a window")
        for key in ("start", "end", "start_inclusive", "end_inclusive"):
            if key not in block:
                raise self._error(line, f"window {name} has no '{key}'")
        for key in ("start_inclusive", "end_inclusive"):
            if not isinstance(block[key], bool):
                raise self._error(block.lines[key], f"{key} must be True or False")
        start, end = (self._boundary(block, side, predicates) for side in ("start", "end"))
        if (start.reference == "end") == (end.reference == "start"):
            raise self._error(line, f"in window {name}, exactly one of start and end must refer to the other")
        label, index = block.get("label"), block.get("index_timestamp")
        if label is not None and (not isinstance(label, str) or label not in predicates):
            raise self._error(block.lines["label"], f"there is no predicate {_truncated(label)}")
        if index not in (None, "start", "end"):
            raise self._error(block.lines["index_timestamp"], "index_timestamp must be start or end")
        has = self._has(self._block(block, "has"), predicates) if block.get("has") else {}
        return Window(name, line, start, end, block["start_inclusive"], block["end_inclusive"], has, label, index)

    def _has(self, block: YamlMapping, predicates: dict[str, Predicate]) -> dict[str, tuple[int | None, int | None]]:
        has = {}
        for key, value in block.items():
            name = ANY_EVENT if key == "*" else key
            if name != ANY_EVENT and name not in predicates:
                raise self._error(block.lines[key], f"there is no predicate {_truncated(key)}")
            match = _COUNTS.fullmatch(str(value)) if len(str(value)) <= _LONGEST_TEXT else None
            if match is None:
                raise self._error(
                    block.lines[key],
                    f"'{_truncated(value)}' is not a valid range: write (least, most), with None for no bound",
                )
            least, most = (int(bound) if bound not in ("None", "") else None for bound in match.groups())
            if (least is None and most is None) or (least is not None and most is not None and most < least):
                raise self._error(
                    block.lines[key], f"{value} is not a valid range: it has no bound, or least is above most"
                )
            has[name] = (least, most)
        return has

    def _boundary(self, block: YamlMapping, side: str, predicates: dict[str, Predicate]) -> Boundary:
        definition, line = block[side], block.lines[side]
        if definition is None:
            return Boundary("end", 0, RECORD_START, True) if side == "start" else Boundary("start", 0, RECORD_END)
        text = self._text(block, side)
        for arrow, backwards in (("->", False), ("<-", True)):
            if arrow in text:
                reference, event = (part.strip() for part in text.split(arrow, 1))
                bounds = (RECORD_START,) if backwards else (RECORD_END,)
                if event not in (*predicates, ANY_EVENT, *bounds):
                    raise self._error(line, f"there is no predicate {event}")
                return self._check_direction(
                    Boundary(self._reference(reference, line), 0, event, backwards), side, line
                )
        match = re.fullmatch(r"\s*([\w.]+)\s*(?:([+-])\s*(.+))?", text)
        if match is None:
            raise self._error(
                line, f"'{text}' is not a valid boundary: write it as trigger + 24h, or start -> predicate"
            )
        offset = 0 if match[2] is None else self._duration(match[3], line) * (1 if match[2] == "+" else -1)
        return self._check_direction(Boundary(self._reference(match[1], line), offset), side, line)

    def _check_direction(self, boundary: Boundary, side: str, line: int) -> Boundary:
        """Refuse a window that would end before it starts."""
        before = boundary.backwards or boundary.offset < 0
        after = (boundary.event is not None and not boundary.backwards) or boundary.offset > 0
        if (side == "end" and boundary.reference == "start" and before) or (
            side == "start" and boundary.reference == "end" and after
        ):
            raise self._error(line, "the window would end before it starts")
        return boundary

    def _reference(self, text: str, line: int) -> str:
        if _REFERENCE.fullmatch(text) is None:
            raise self._error(line, f"'{text}' must be trigger, start, end, or the .start or .end of a window")
        return text

    def _duration(self, text: str, line: int) -> int:
        parts = _DURATION.findall(text.strip().lower())
        if _DURATION.sub("", text.strip().lower()) or not parts or any(unit not in _UNITS for _, unit in parts):
            raise self._error(line, f"'{text}' is not a valid duration: write it as 24h, 30 days or 1d 12h")
        amounts = [float(number) * _UNITS[unit] for number, unit in parts]
        if sum(amounts) > _LONGEST_DURATION:
            raise self._error(line, f"'{text}' is longer than 100 years: write null for the end of the record")
        return sum(map(round, amounts))


def _truncated(value: object) -> str:
    """Return a value of the file for a message, truncated if it is long."""
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]} ..."
