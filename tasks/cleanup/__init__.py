"""Removal of outputs, caches, copies in MLflow, logs, and what crashed runs left.

Nothing here decides on a record, which only a person may remove.
"""
