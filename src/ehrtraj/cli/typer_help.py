"""Import typer's writer of help texts without the parts of rich that it imports and that we never use.

They are rich's reader of Markdown (our help is in rich's markup) and its tracebacks (we print Python's). Their imports
take a quarter of the time of `ehrtraj --help`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

_UNUSED = ("rich.markdown", "rich.traceback")


def import_typer_help() -> None:
    """Import `typer.rich_utils`. In it, classes of the unused modules are replaced by ones that import them on use."""
    stand_ins = [_StandIn(name) for name in _UNUSED if name not in sys.modules]
    sys.modules.update({module.__name__: module for module in stand_ins})
    try:
        import_module("typer.rich_utils")
    finally:
        for module in stand_ins:
            del sys.modules[module.__name__]


class _StandIn(ModuleType):
    """A module whose classes import the real module when they are used."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        module = self.__name__

        class OnUse(type):
            def __call__(cls, *arguments: object, **keywords: object) -> object:
                return getattr(import_module(module), name)(*arguments, **keywords)

            def __getattr__(cls, attribute: str) -> object:
                return getattr(getattr(import_module(module), name), attribute)

        return OnUse(name, (), {})
