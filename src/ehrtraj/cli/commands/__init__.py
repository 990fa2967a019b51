"""The commands. Each module of this package declares the command of the same name, as `COMMAND`."""
