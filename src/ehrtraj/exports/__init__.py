"""Export a dataset to one file per patient, admission or ICU stay."""
