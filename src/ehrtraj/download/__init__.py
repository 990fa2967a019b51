"""Releases from PhysioNet: fetched (`run.download`), resumed, verified (`verify.verify`).

Nothing is imported here, since a build needs `hint` alone and none of what speaks HTTP.
"""
