"""The format of a dataset: columns, file names, splits, manifest and ledger, for the build and for all readers."""
