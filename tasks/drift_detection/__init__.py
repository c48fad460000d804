"""Statistics that describe a version of the data, and distances between two versions.

The stage `drift` applies the thresholds. `tasks/tracking/reference_version.py` chooses the version to compare
with.
"""
