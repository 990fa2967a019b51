"""Read each table of a release once and sort its rows by shard."""
