"""Check a dataset: verify all invariants on its files."""

from ehrtraj.checks.run import CheckReport, check

__all__ = ["CheckReport", "check"]
