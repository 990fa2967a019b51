"""Turn the staged rows of one shard into its files of events."""
