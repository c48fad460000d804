"""Backups of a project's records: writing one, checking it, restoring it.

Which files are records is defined in `tasks/project/paths.py`; what may be removed is decided in
`tasks/cleanup/`.
"""
