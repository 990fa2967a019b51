"""What a dataset is: columns, file names, splits, manifest, ledger. The build writes it, everything else reads it."""
