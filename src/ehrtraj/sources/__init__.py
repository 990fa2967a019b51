"""Sources: what a release of one origin looks like and becomes, as data. Each has a folder here or of a user's own."""
