"""Reports as single HTML files: of a build, and of the difference between two datasets."""
