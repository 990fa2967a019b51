"""What can be wrong with a task."""

from __future__ import annotations

from ehrtraj.errors import SettingsError


class TaskError(SettingsError):
    """A task file that cannot be read, or asks for what this reader of ACES' language does not do."""
