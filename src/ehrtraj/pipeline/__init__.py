"""From a release to a dataset: stage, extract, assemble, publish."""
