"""Tables of a synthetic release. Each module draws some of them from a block of patients."""
