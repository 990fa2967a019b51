"""A release on disk: what is known of its tables, how it is found and read."""
