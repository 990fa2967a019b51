"""Keep pandas out of the processes of commands and of workers: none of them uses it.

pyarrow imports pandas, if it is installed, when it converts its first value. Importing it takes 0.3 s of CPU time and
40 MB in each process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAME = "pandas"


class _Refusal(MetaPathFinder, Loader):
    """Finds and loads pandas, and fails to load it. Libraries that only ask whether it is installed find it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == _NAME else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        raise ModuleNotFoundError(f"{spec.name} is not used in this process", name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing, since no module is created."""


def keep_pandas_out() -> None:
    """Let every import of pandas fail in this process. Call it only in a process that belongs to ehrtraj."""
    if _NAME not in sys.modules:
        sys.meta_path.insert(0, _Refusal())
