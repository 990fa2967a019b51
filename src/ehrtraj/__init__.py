"""ehrtraj: patient trajectories from raw electronic health records."""

from __future__ import annotations

from ehrtraj.errors import EhrtrajError
from ehrtraj.version import __version__

# Type checkers recognise this name. Importing `typing` would take longer than everything else in this module, at a time
# when Ctrl-C is not handled yet.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ehrtraj.api import build, compute_concepts
    from ehrtraj.checks.run import check
    from ehrtraj.dataset.dataset import Dataset, open_dataset
    from ehrtraj.dataset.trajectory import Trajectory
    from ehrtraj.diffs.run import diff
    from ehrtraj.exports.read import read_export
    from ehrtraj.exports.run import export
    from ehrtraj.labels.ready import ready_tasks as tasks
    from ehrtraj.labels.run import label
    from ehrtraj.reports.run import report
    from ehrtraj.results import BuildResult

    open = open_dataset


# Without `open`, so that `from ehrtraj import *` does not replace Python's.
__all__ = [
    "BuildResult", "Dataset", "EhrtrajError", "Trajectory", "__version__", "build", "check", "compute_concepts", "diff",
    "export", "label", "read_export", "report", "tasks",
]  # fmt: skip

# Names are imported on first use: opening a dataset does not need DuckDB, `ehrtraj --version` needs no import at all.
_LAZY_IMPORTS = {
    "BuildResult": ("ehrtraj.results", "BuildResult"),
    "build": ("ehrtraj.api", "build"),
    "compute_concepts": ("ehrtraj.api", "compute_concepts"),
    "check": ("ehrtraj.checks.run", "check"),
    "diff": ("ehrtraj.diffs.run", "diff"),
    "export": ("ehrtraj.exports.run", "export"),
    "read_export": ("ehrtraj.exports.read", "read_export"),
    "label": ("ehrtraj.labels.run", "label"),
    "tasks": ("ehrtraj.labels.ready", "ready_tasks"),
    "report": ("ehrtraj.reports.run", "report"),
    "Dataset": ("ehrtraj.dataset.dataset", "Dataset"),
    "open": ("ehrtraj.dataset.dataset", "open_dataset"),
    "Trajectory": ("ehrtraj.dataset.trajectory", "Trajectory"),
}


def __getattr__(name: str) -> object:
    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _LAZY_IMPORTS[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LAZY_IMPORTS})
