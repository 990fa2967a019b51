"""Files on disk: opened, locked and replaced without harm to files that are not ours."""
