"""The error for invalid tasks."""

from __future__ import annotations

from ehrtraj.errors import SettingsError


class TaskError(SettingsError):
    """A task file cannot be read, or uses a part of the ACES task language that is not supported."""
