"""Check the arguments of public functions by their annotations, before a library below reports something obscure."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime
from functools import wraps
from inspect import Parameter
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from ehrtraj.errors import SettingsError

Texts = str | Iterable[str]
"""One text, or several."""

_P = ParamSpec("_P")
_Result = TypeVar("_Result")

_LONGEST = 60
_WORDS: dict[Any, str] = {
    NoneType: "None",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    datetime: "a datetime",
    date: "a date",
}
_WORDS_BY_NAME = {
    "DataFrame": "a polars DataFrame",
    "Expr": 'a polars expression, such as pl.col("sex") == "F",',
}
# Unions that have a name of their own.
_WORDS_OF_UNIONS = {
    frozenset({str, Path}): "a path",
    frozenset({datetime, date, str}): "a time: a datetime, a date, or a text such as 2180-07-23 14:00",
}
_PLURALS = {"str": "texts", "int": "whole numbers", "float": "numbers", "Expr": "expressions"}


def checked(function: Callable[_P, _Result]) -> Callable[_P, _Result]:
    """Decorate a function so that it raises a SettingsError for an argument that its annotation does not allow.

    The values of a Literal and the elements of a fixed tuple are left to the function, which can suggest something
    better. So are annotations whose names are only imported for type checkers.
    """
    parameters: tuple[list[_Parameter], dict[str, _Parameter]] | None = None

    @wraps(function)
    def wrapper(*args: _P.args, **keywords: _P.kwargs) -> _Result:
        nonlocal parameters
        if parameters is None:
            # Not earlier: annotations can name what a module defines further below.
            parameters = _parameters(function)
        positional, by_name = parameters
        # Python reports too many arguments, and names that do not exist.
        for parameter, value in zip(positional, args, strict=False):
            parameter.check(value)
        for value in args[len(positional) :]:
            positional[-1].check_further(value)
        for name, value in keywords.items():
            if name in by_name:
                by_name[name].check(value)
        return function(*args, **keywords)

    return wrapper


class _Parameter:
    """A parameter of a function."""

    def __init__(self, parameter: Parameter, hint: Any) -> None:  # noqa: ANN401  # any annotation
        self._name = parameter.name
        self._hint = hint
        self._allows = _allowing(hint)
        self._is_variadic = parameter.kind is Parameter.VAR_POSITIONAL

    def check(self, value: object) -> None:
        if not self._allows(value):
            raise _wrong(self._name, value, self._hint)

    def check_further(self, value: object) -> None:
        """Check an argument behind that of the last parameter."""
        if self._is_variadic:
            self.check(value)


def _parameters(function: Callable[..., object]) -> tuple[list[_Parameter], dict[str, _Parameter]]:
    """Return the positional parameters of a function, and all parameters by name."""
    parameters = inspect.signature(function).parameters.values()
    by_name = {one.name: _Parameter(one, _evaluated(one, function)) for one in parameters}
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)
    return [by_name[one.name] for one in parameters if one.kind in kinds], by_name


def _evaluated(parameter: Parameter, function: Callable[..., object]) -> Any:  # noqa: ANN401  # any annotation
    if parameter.annotation is Parameter.empty:
        return Any
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    try:
        names: dict[str, Any] = vars(inspect.getmodule(function))
        return eval(parameter.annotation, names)  # noqa: S307  # the annotation of a function of the package
    except NameError:
        return Any


def _wrong(name: str, value: object, hint: Any) -> SettingsError:  # noqa: ANN401
    return SettingsError(f"{name} is {shown(value)}: it must be {described(hint)}")


def check_argument(name: str, value: object, hint: Any) -> None:  # noqa: ANN401
    """Check that an annotation allows the value of an argument.

    Raises:
        SettingsError: if it does not.
    """
    if not fits(value, hint):
        raise _wrong(name, value, hint)


def fits(value: object, hint: Any) -> bool:  # noqa: ANN401
    """Return whether an annotation allows a value. Elements of iterators are not consumed, and not checked."""
    return _allowing(hint)(value)


def _allowing(hint: Any) -> Callable[[object], bool]:  # noqa: ANN401
    """Return a function that returns whether an annotation allows a value."""
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        checks = [_allowing(one) for one in parts]
        return lambda value: any(check(value) for check in checks)
    if origin is Literal:
        kinds = tuple({type(one) for one in parts})
        return lambda value: isinstance(value, kinds)
    if origin in _CHECKS:
        return _CHECKS[origin]
    if origin is tuple or not isinstance(origin, type):
        return _anything
    if issubclass(origin, Iterable) and parts and not issubclass(origin, Mapping):
        return _several(_allowing(parts[0]))
    return lambda value: _is_instance(value, origin)


def _several(allows: Callable[[object], bool]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
            return False
        return not isinstance(value, Collection) or all(map(allows, value))

    return check


def _is_instance(value: object, kind: type) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:  # a Protocol that cannot be checked
        return True


def _anything(_value: object) -> bool:
    return True


_CHECKS: dict[Any, Callable[[object], bool]] = {
    Any: _anything,
    None: lambda value: value is None,
    # The bool of numpy has the same name.
    bool: lambda value: type(value).__name__ == "bool",
    int: lambda value: isinstance(value, Integral) and not isinstance(value, bool),
    float: lambda value: isinstance(value, Real) and not isinstance(value, bool),
    Path: lambda value: isinstance(value, os.PathLike),
    Callable: callable,
}


def described(hint: Any) -> str:  # noqa: ANN401
    """Return what an annotation allows, in words."""
    origin = get_origin(hint) or hint
    if origin in (Union, UnionType):
        return _described_union(get_args(hint))
    if origin is Literal:
        return _either([repr(one) for one in get_args(hint)])
    if origin is Callable:
        return "a function"
    if origin is None or origin in _WORDS:
        return _WORDS[NoneType if origin is None else origin]
    if issubclass(origin, Mapping):
        return "a dict"
    if issubclass(origin, Iterable) and get_args(hint):
        element = get_args(hint)[0]
        return f"a list of {_PLURALS.get(getattr(element, '__name__', ''), 'values')}"
    return _WORDS_BY_NAME.get(origin.__name__, f"a {origin.__name__}")


def _described_union(kinds: tuple[Any, ...]) -> str:
    for named, words in _WORDS_OF_UNIONS.items():
        if named <= set(kinds):
            return _either([words, *(described(one) for one in kinds if one not in named)])
    return _either([described(one) for one in kinds])


def _either(words: list[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def shown(value: object) -> str:
    """Return a value for a message: a short one as it is written in Python, otherwise its type."""
    if value is None or isinstance(value, str | int | float | date | list | tuple | set | dict):
        text = repr(value)
        if len(text) <= _LONGEST and "\n" not in text:
            return text
    return f"an object of the type {type(value).__name__}"


def listed(argument: str, given: object) -> list[str]:
    """Return the texts of an argument that accepts one text or several.

    Args:
        argument: name of the argument, for the message.
        given: a text, or any iterable of texts: a list, a tuple, a Series.

    Raises:
        SettingsError: if it is or contains something else.
    """
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping):
        raise SettingsError(f"{argument} is {shown(given)}: it must be a text or a list of texts")
    texts = list(given)
    for text in texts:
        if not isinstance(text, str):
            raise SettingsError(f"{argument} contains {shown(text)}: it must be a text or a list of texts")
    return texts
