"""Versions of the data with DVC: the pointer file, the cache and the remote.

What the rows in a version mean belongs in `tasks/data/`.
"""
