"""Storage of files: open, lock, write and delete files without touching files that ehrtraj did not create."""
