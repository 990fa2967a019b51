"""Determine what a build reads and how its patients are divided into shards."""
