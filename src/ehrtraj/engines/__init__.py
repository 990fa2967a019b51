"""Engines run a function over shards. They know nothing of medicine."""
