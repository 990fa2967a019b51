"""Settings that are declared once, as fields of a dataclass.

The name, type and default of a field, and what `setting()` adds to them, are all there is to know of a setting. Its
parser, environment variables, option of the command line, argument of `build()`, line of the documentation and place in
the fingerprint follow from them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from ehrtraj.errors import SettingsError

Content = Literal["files", "source", "vocabularies"]
"""Entries of the fingerprint that hold the content of files which settings name."""

PREFIX = "EHRTRAJ_"
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}
_KEY = "setting"
_P = ParamSpec("_P")
_Function = TypeVar("_Function", bound=Callable[..., object])


class ValueType(NamedTuple):
    """How the values of a type are given.

    Attributes:
        parse: makes a value of a text, or of what a caller or a TOML file gave.
        option: type of the option on the command line.
        argument: type of the argument of `build()`.
    """

    parse: Callable[[object], object]
    option: type
    argument: object


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a setting is, beside the name, type and default of its field.

    Attributes:
        help: what it does, for `--help`, the docstring of `build()` and the table of settings.
        changes_data: whether it changes which events a dataset has, or what is in them. Then it is in the fingerprint.
        content_in: entry of the fingerprint that has the content of the files that the setting names. Without it, the
            value itself is in the fingerprint.
        canonical: what of the value is in the fingerprint, the same for values that mean the same.
        kind: how values are given, where the type does not show it.
        check: raises a `SettingsError` for a value that cannot be used.
        details: what the table of settings adds to the help.
        default_text: how to write the default, where the value does not show it.
        positional: whether it is an argument of the command, not an option.
        short: letter of the option, such as `-o`.
        switch: the two options of a bool, such as `--icu-only/--all-patients`.
        shorthand: an option that stands for a value, such as `--no-notes` for `none`.
        unprefixed: whether its environment variable also counts without `EHRTRAJ_`.
    """

    help: str
    changes_data: bool
    content_in: Content | None = None
    canonical: Callable[[Any], object] | None = None
    kind: ValueType | None = None
    check: Callable[[Any], None] | None = None
    details: str = ""
    default_text: str = ""
    positional: bool = False
    short: str = ""
    switch: str = ""
    shorthand: tuple[str, str] | None = None
    unprefixed: bool = False


def _as_metadata(make: Callable[_P, Declaration]) -> Callable[_P, dict[str, Declaration]]:
    def setting(*args: _P.args, **kwargs: _P.kwargs) -> dict[str, Declaration]:
        return {_KEY: make(*args, **kwargs)}

    return setting


setting = _as_metadata(Declaration)
"""The metadata of a field that is a setting: takes what `Declaration` takes."""


@dataclass(frozen=True)
class Setting:
    """A field with its declaration.

    Attributes:
        name: of the field, the argument of `build()` and the key in a TOML file.
        kind: how values are given.
        choices: all values there are, where these are few.
        field: of the dataclass.
        declared: what its metadata declares.
    """

    name: str
    kind: ValueType
    choices: tuple[str, ...]
    field: Field[Any]
    declared: Declaration

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.field.default is MISSING and self.field.default_factory is MISSING

    @property
    def default(self) -> object:
        """The value where none is given; only of a setting that is not required."""
        return self.field.default if self.field.default_factory is MISSING else self.field.default_factory()

    @property
    def option(self) -> str:
        """Name of the option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables that set it, the first of them before the second."""
        upper = self.name.upper()
        return (f"{PREFIX}{upper}", upper) if self.declared.unprefixed else (f"{PREFIX}{upper}",)

    @property
    def default_text(self) -> str:
        """The default as a user would write it; empty where nothing is set, and for a bool."""
        if self.declared.default_text or self.required or isinstance(self.default, bool):
            return self.declared.default_text
        return "" if self.default in (None, ()) else str(self.default)

    @property
    def help(self) -> str:
        """The help with the default."""
        return f"{self.declared.help} (default {self.default_text})" if self.default_text else self.declared.help

    def check(self, value: object) -> None:
        """Refuse a value that cannot be used.

        Raises:
            SettingsError: if it is none of the choices, or does not pass the check of the declaration.
        """
        if self.choices and value not in self.choices:
            *others, last = map(repr, self.choices)
            raise SettingsError(f"{self.name} is '{value}': it is {', '.join(others)} or {last}")
        if self.declared.check is not None and value is not None:
            self.declared.check(value)

    def canonical(self, value: object) -> object:
        """Return what of a value decides the data."""
        return value if self.declared.canonical is None else self.declared.canonical(value)


def settings_of(declared_in: type) -> tuple[Setting, ...]:
    """Return the settings that a dataclass declares, in the order of its fields."""
    hints = get_type_hints(declared_in)
    found = []
    for field in fields(declared_in):
        declaration: Declaration = field.metadata[_KEY]
        (value_type,) = _without_none(hints[field.name])
        choices = get_args(value_type) if get_origin(value_type) is Literal else ()
        kind = declaration.kind or (
            ValueType(str, str, value_type | None) if choices else _KINDS[get_origin(value_type) or value_type]
        )
        found.append(Setting(field.name, kind, choices, field, declaration))
    return tuple(found)


def show_parameters(parameters: Iterable[inspect.Parameter]) -> Callable[[_Function], _Function]:
    """Return a decorator that gives a function with `**keywords` a signature which names them.

    Args:
        parameters: in their order. Those of the function that are not among them come last.
    """
    shown = {parameter.name: parameter for parameter in parameters}

    def decorate(function: _Function) -> _Function:
        own = inspect.signature(function, eval_str=True)
        rest = [p for p in own.parameters.values() if p.name not in shown and p.kind is not p.VAR_KEYWORD]
        signature = own.replace(parameters=[*shown.values(), *rest])
        function.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature reads
        return function

    return decorate


def _without_none(hint: object) -> list[Any]:
    if get_origin(hint) in (Union, UnionType):
        return [part for part in get_args(hint) if part is not NoneType]
    return [hint]


def _parse_path(value: object) -> Path:
    return Path(str(value)).expanduser()


def _parse_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise SettingsError(f"'{value}' is neither true nor false")


def _parse_int(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise SettingsError(f"'{value}' is not a whole number") from None


def _parse_list(value: object) -> tuple[str, ...]:
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    return tuple(p.strip() for p in map(str, parts) if p.strip())


_KINDS: dict[type, ValueType] = {
    Path: ValueType(_parse_path, str, str | Path | None),
    bool: ValueType(_parse_bool, bool, bool | None),
    int: ValueType(_parse_int, int, int | None),
    tuple: ValueType(_parse_list, str, list[str] | str | None),
    str: ValueType(str, str, str | None),
}
