"""Export: files for each patient, admission or ICU stay, cut out of a dataset."""
