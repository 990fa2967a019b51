"""The latent courses of infections and organ failures in intensive care, which drive what is measured and treated.

`draws.py` decides which admissions have which failures, and how severe. `courses.py` places them in time. `effects.py`
turns them into shifts of signals, `treatment.py` into ventilation, vasopressors and dialysis. `truth.py` writes all of
this to `truth.csv`.

The figures are in `catalog/failures.csv`, `failure_chances.csv`, `failure_effects.csv` and `failure_treatments.csv`. A
severity of 1 is a failure that usually needs treatment. No failure is defined by a limit of a measurement.
"""
