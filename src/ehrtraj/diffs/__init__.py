"""Diff: what two datasets do not have in common."""
