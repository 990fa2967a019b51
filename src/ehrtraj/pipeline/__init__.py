"""Build a dataset from a release: plan, stage, build shards, publish."""
