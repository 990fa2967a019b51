"""Everything that is printed goes through this package: it knows terminals and does not trust what comes from data."""
