"""Tables of the synthetic release: each module draws some of them from a block of patients."""
