"""Synthetic MIMIC-IV releases: invented patients, in the form of a real release and with its defects."""
