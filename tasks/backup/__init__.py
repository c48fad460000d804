"""Backups of a project's records: writing, checking and restoring them.

`tasks/project/paths.py` defines which files are records; `tasks/cleanup/` decides what may be removed.
"""
