"""A picture of one patient: bands, bars, curves and marks over time, for the viewer and for notebooks."""
