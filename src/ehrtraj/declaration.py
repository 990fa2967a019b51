"""Settings that are declared once, as fields of a dataclass.

The name, type and default of a field, and the metadata from `setting()`, define a setting completely. Its parser,
environment variables, command-line option, argument of `build()`, line of the documentation and place in the
fingerprint are derived from them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from ehrtraj.arguments import Texts
from ehrtraj.errors import SettingsError
from ehrtraj.suggestions import did_you_mean

Content = Literal["files", "source", "vocabularies"]
"""Entries of the fingerprint that cover the content of files named by settings."""

PREFIX = "EHRTRAJ_"
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}
_KEY = "setting"
_P = ParamSpec("_P")
_Function = TypeVar("_Function", bound=Callable[..., object])


class ValueType(NamedTuple):
    """How values of a type are passed.

    Attributes:
        parse: converts a string, an argument or a value from a TOML file.
        option: type of the command-line option.
        argument: type of the argument of `build()`.
    """

    parse: Callable[[object], object]
    option: type
    argument: object


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What defines a setting in addition to the name, type and default of its field.

    Attributes:
        help: what the setting does, for `--help`, the docstring of `build()` and the table of settings.
        changes_data: whether the setting changes the events of a dataset or their content. If so, it is part of the
            fingerprint.
        content_in: entry of the fingerprint that covers the content of the files that the setting names. If None, the
            value itself is part of the fingerprint.
        canonical: returns the form of a value that enters the fingerprint; equivalent values have the same form.
        kind: how values are passed, if this does not follow from the type.
        check: raises a `SettingsError` for an invalid value.
        details: text that the table of settings shows after the help.
        default_text: text of the default, if the value alone does not explain it.
        positional: whether the setting is an argument of the command rather than an option.
        short: short option, such as `-o`.
        switch: the two options of a bool, such as `--icu-only/--all-patients`.
        shorthand: an option that stands for a value, such as `--no-notes` for `none`.
        unprefixed: whether the environment variable also works without `EHRTRAJ_`.
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
"""Return the metadata of a field that is a setting. Takes the arguments of `Declaration`."""


@dataclass(frozen=True)
class Setting:
    """A field with its declaration.

    Attributes:
        name: name of the field, of the argument of `build()` and of the key in a TOML file.
        kind: how values are passed.
        choices: all valid values, if the setting is a choice; otherwise empty.
        field: the field of the dataclass.
        declared: the declaration in its metadata.
    """

    name: str
    kind: ValueType
    choices: tuple[str, ...]
    field: Field[Any]
    declared: Declaration

    @property
    def required(self) -> bool:
        """Whether the setting has no default."""
        return self.field.default is MISSING and self.field.default_factory is MISSING

    @property
    def default(self) -> object:
        """The default value. A required setting has none."""
        return self.field.default if self.field.default_factory is MISSING else self.field.default_factory()

    @property
    def option(self) -> str:
        """Name of the command-line option."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables that set it, the one with the highest precedence first."""
        upper = self.name.upper()
        return (f"{PREFIX}{upper}", upper) if self.declared.unprefixed else (f"{PREFIX}{upper}",)

    @property
    def default_text(self) -> str:
        """The default as a user would write it; empty if there is no default, and for a bool."""
        if self.declared.default_text or self.required or isinstance(self.default, bool):
            return self.declared.default_text
        return "" if self.default in (None, ()) else str(self.default)

    @property
    def help(self) -> str:
        """The help text, followed by the default."""
        return f"{self.declared.help} (default {self.default_text})" if self.default_text else self.declared.help

    def check(self, value: object) -> None:
        """Check that a value is valid.

        Raises:
            SettingsError: if the value is not one of the choices, or fails the check of the declaration.
        """
        if self.choices and value not in self.choices:
            *others, last = map(repr, self.choices)
            near = did_you_mean(str(value), self.choices)
            raise SettingsError(f"{self.name} is '{value}'{near}: it must be {', '.join(others)} or {last}")
        if self.declared.check is not None and value is not None:
            self.declared.check(value)

    def canonical(self, value: object) -> object:
        """Return the form of a value that enters the fingerprint."""
        return value if self.declared.canonical is None else self.declared.canonical(value)


def settings_of(declared_in: type) -> tuple[Setting, ...]:
    """Return the settings that a dataclass declares, in the order of its fields."""
    hints = get_type_hints(declared_in)
    settings = []
    for field in fields(declared_in):
        declaration: Declaration = field.metadata[_KEY]
        (value_type,) = _without_none(hints[field.name])
        choices = get_args(value_type) if get_origin(value_type) is Literal else ()
        kind = declaration.kind or (
            ValueType(str, str, value_type | None) if choices else _KINDS[get_origin(value_type) or value_type]
        )
        settings.append(Setting(field.name, kind, choices, field, declaration))
    return tuple(settings)


def show_parameters(parameters: Iterable[inspect.Parameter]) -> Callable[[_Function], _Function]:
    """Return a decorator that gives a function with `**keywords` an explicit signature.

    Args:
        parameters: parameters of the new signature, in order. The function's other parameters follow them.
    """
    shown = {parameter.name: parameter for parameter in parameters}

    def decorate(function: _Function) -> _Function:
        original = inspect.signature(function, eval_str=True)
        rest = [p for p in original.parameters.values() if p.name not in shown and p.kind is not p.VAR_KEYWORD]
        signature = original.replace(parameters=[*shown.values(), *rest])
        function.__signature__ = signature  # type: ignore[attr-defined]  # inspect.signature reads this attribute
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
    parts = str(value).split(",") if isinstance(value, str) or not isinstance(value, Iterable) else value
    return tuple(p.strip() for p in map(str, parts) if p.strip())


_KINDS: dict[type, ValueType] = {
    Path: ValueType(_parse_path, str, str | Path | None),
    bool: ValueType(_parse_bool, bool, bool | None),
    int: ValueType(_parse_int, int, int | None),
    tuple: ValueType(_parse_list, str, Texts | None),
    str: ValueType(str, str, str | None),
}
