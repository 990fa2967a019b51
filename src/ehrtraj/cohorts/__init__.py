"""Cohorts: stays of all patients, chosen step by step, with their features."""
