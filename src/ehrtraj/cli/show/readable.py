"""Format sizes, durations and releases for the screen, as everywhere else."""

from ehrtraj.readable import duration, release_name, size

__all__ = ["duration", "release_name", "size"]
