"""Engines run the tasks of a build. They do not depend on the content of the data."""
