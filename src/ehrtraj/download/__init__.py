"""Download releases from PhysioNet (`run.download`), resume downloads, and verify them (`verify.verify`).

This module imports nothing, because a build needs only `hint`, and not the modules that use HTTP.
"""
