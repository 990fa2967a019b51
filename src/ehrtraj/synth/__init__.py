"""A synthetic MIMIC-IV release: patients that never lived, in the form and with the faults of the real one."""
