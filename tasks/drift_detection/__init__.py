"""Statistics that describe a version of the data and measure how far two versions are apart.

The stage `drift` applies the thresholds; which version to compare with is chosen in
`tasks/tracking/reference_version.py`.
"""
