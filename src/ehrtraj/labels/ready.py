"""The tasks that come with the package, and the files beside them."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

from ehrtraj.errors import SettingsError
from ehrtraj.files import read_text_file
from ehrtraj.labels.errors import TaskError
from ehrtraj.labels.parse import parse_task
from ehrtraj.labels.task import Task
from ehrtraj.labels.yaml_lines import MOST_BYTES

_FOLDER = files("ehrtraj.tasks")


def read_text(name: str) -> str:
    """Content of a file of the folder `tasks`."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def read_lines(name: str) -> list[dict[str, str]]:
    """Lines of a table of the folder `tasks`."""
    with (_FOLDER / name).open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def ready_tasks() -> dict[str, Task]:
    """The tasks that come with the package, by name."""
    names = sorted(file.name for file in _FOLDER.iterdir() if file.name.endswith(".yaml"))
    return {name.removesuffix(".yaml"): parse_task(Path(name), read_text(name)) for name in names}


def task_text(name: str) -> str:
    """The file of a ready task, as it stands.

    Raises:
        SettingsError: if there is none of this name.
    """
    if name not in (names := list(ready_tasks())):
        raise SettingsError(f"there is no ready task '{name}': there are {', '.join(names)}")
    return read_text(f"{name}.yaml")


def find_task(given: str | Path) -> Task:
    """Read a task: a file, or the name of one that comes with the package.

    Raises:
        TaskError: if there is none, or it cannot be understood.
    """
    path = Path(given).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        ready = ready_tasks()
        if str(given) in ready:
            return ready[str(given)]
        raise TaskError(
            f"'{given}' is no ready task and no .yaml file. Ready tasks: {', '.join(ready)}. "
            "`ehrtraj tasks NAME > mine.yaml` gives one to change"
        )
    return parse_task(path, read_text_file(path, "the task file", TaskError, MOST_BYTES))
