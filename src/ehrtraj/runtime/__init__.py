"""What every command shares while it runs: DuckDB sessions."""
