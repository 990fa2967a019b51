"""The predefined tasks of a source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ehrtraj.arguments import checked
from ehrtraj.errors import SettingsError
from ehrtraj.files import read_text_file
from ehrtraj.labels.errors import TaskError
from ehrtraj.labels.parse import parse_task
from ehrtraj.labels.task import Task
from ehrtraj.labels.yaml_lines import MOST_BYTES
from ehrtraj.sources.source import Source, find_source
from ehrtraj.suggestions import did_you_mean


def _files(source: Source | None) -> dict[str, Path]:
    """Return the task files of a source, by the name of the task."""
    folder = (source or find_source()).tasks
    return {file.stem: file for file in (sorted(folder.iterdir()) if folder.is_dir() else ()) if file.suffix == ".yaml"}


@checked
def ready_tasks(source: Source | None = None) -> dict[str, Task]:
    """Return the predefined tasks of a source, by name.

    Args:
        source: the source; by default the first one in the package.
    """
    return {
        name: parse_task(Path(file.name), file.read_text(encoding="utf-8")) for name, file in _files(source).items()
    }


@checked
def task_text(name: str, source: Source | None = None) -> str:
    """Return the unchanged file of a predefined task.

    Args:
        name: name of the task.
        source: the source; by default the first one in the package.

    Raises:
        SettingsError: if there is no predefined task with this name.
    """
    files = _files(source)
    if name not in files:
        raise SettingsError(
            f"there is no predefined task '{name}'{did_you_mean(name, files)}: the predefined tasks are "
            f"{', '.join(files)}"
        )
    return files[name].read_text(encoding="utf-8")


@checked
def meds_dev_predicates(source: Source | None = None) -> str:
    """Return the file of predicates with which the tasks of MEDS-DEV run on datasets of a source.

    Args:
        source: the source; by default the first one in the package.

    Raises:
        SettingsError: if the source has no such file.
    """
    chosen = source or find_source()
    path = chosen.tasks / "meds_dev" / "predicates.yaml"
    if not path.is_file():
        raise SettingsError(f"source {chosen.name} has no predicates for MEDS-DEV: add {path}")
    return path.read_text(encoding="utf-8")


@checked
def find_task(name_or_path: str | Path, source: Callable[[], Source] = find_source) -> Task:
    """Read a task from a file, or a predefined task by name.

    Args:
        name_or_path: path of the file, or name of the predefined task.
        source: returns the source of the predefined tasks; it is not called for a file.

    Raises:
        TaskError: if there is no such task, or it is invalid.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        predefined = ready_tasks(source())
        if str(name_or_path) in predefined:
            return predefined[str(name_or_path)]
        raise TaskError(
            f"'{name_or_path}' is neither a predefined task{did_you_mean(str(name_or_path), predefined)} nor a .yaml "
            f"file. Predefined tasks: {', '.join(predefined)}. To modify one, save it with "
            "`ehrtraj tasks NAME > mine.yaml`"
        )
    return parse_task(path, read_text_file(path, "the task file", TaskError, MOST_BYTES))
