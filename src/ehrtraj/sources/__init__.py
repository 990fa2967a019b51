"""Sources: data files that describe the releases of one origin. Each has a folder here, or is a user's folder."""
