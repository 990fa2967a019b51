"""Check a dataset: every invariant about its files, verified on the files."""

from ehrtraj.checks.run import CheckReport, check

__all__ = ["CheckReport", "check"]
