"""Clinical concepts: tables that are derived from the events of a dataset with SQL files."""
