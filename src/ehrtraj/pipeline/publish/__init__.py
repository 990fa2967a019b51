"""Describe what was built, and give the dataset its name."""
