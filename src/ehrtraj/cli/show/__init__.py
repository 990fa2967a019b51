"""All output of the command line. This package knows terminals, and does not trust text that comes from data."""
