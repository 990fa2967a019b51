"""Convert the staged rows of a shard to its files of events."""
