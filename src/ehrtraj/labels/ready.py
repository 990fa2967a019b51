"""The tasks that come with a source, and the files beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ehrtraj.errors import SettingsError
from ehrtraj.files import read_text_file
from ehrtraj.labels.errors import TaskError
from ehrtraj.labels.parse import parse_task
from ehrtraj.labels.task import Task
from ehrtraj.labels.yaml_lines import MOST_BYTES
from ehrtraj.sources.source import Source, find_source


def _files(source: Source | None) -> dict[str, Path]:
    """The files of a source's tasks, by the task's name."""
    folder = (source or find_source()).tasks
    return {file.stem: file for file in (sorted(folder.iterdir()) if folder.is_dir() else ()) if file.suffix == ".yaml"}


def ready_tasks(source: Source | None = None) -> dict[str, Task]:
    """The tasks that come with a source, by name.

    Args:
        source: whose tasks; by default the first that comes with the package.
    """
    return {
        name: parse_task(Path(file.name), file.read_text(encoding="utf-8")) for name, file in _files(source).items()
    }


def task_text(name: str, source: Source | None = None) -> str:
    """The file of a ready task, as it stands.

    Args:
        name: of the task.
        source: whose tasks; by default the first that comes with the package.

    Raises:
        SettingsError: if there is none of this name.
    """
    files = _files(source)
    if name not in files:
        raise SettingsError(f"there is no ready task '{name}': there are {', '.join(files)}")
    return files[name].read_text(encoding="utf-8")


def find_task(given: str | Path, source: Callable[[], Source] = find_source) -> Task:
    """Read a task: a file, or the name of one that comes with a source.

    Args:
        given: the file or the name.
        source: returns the source whose tasks to look for; it is not asked for a file.

    Raises:
        TaskError: if there is none, or it cannot be understood.
    """
    path = Path(given).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        ready = ready_tasks(source())
        if str(given) in ready:
            return ready[str(given)]
        raise TaskError(
            f"'{given}' is no ready task and no .yaml file. Ready tasks: {', '.join(ready)}. "
            "`ehrtraj tasks NAME > mine.yaml` gives one to change"
        )
    return parse_task(path, read_text_file(path, "the task file", TaskError, MOST_BYTES))
