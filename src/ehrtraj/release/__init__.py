"""A release on disk: the description of its tables, its detection, and the reading of its files."""
