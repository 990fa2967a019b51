"""Commands: each module of this package is one, has its name, and declares it as `COMMAND`."""
