"""Versions of the data: their list, their differences and the number of their rows.

Their storage is in `tasks/dvc/`.
"""
