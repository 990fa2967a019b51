"""Check a dataset: every promise about its files, verified on the files."""

from ehrtraj.checks.run import CheckReport, check

__all__ = ["CheckReport", "check"]
