"""Helpers without knowledge of stages or data: checksums, file locks, safe names, URLs without secrets, Git.

Add a helper here only if two packages need it.
"""
