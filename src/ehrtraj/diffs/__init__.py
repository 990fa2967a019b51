"""Diff: the differences between two datasets."""
