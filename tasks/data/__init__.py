"""Rows and their sources: downloads, records, shards, splits, withdrawals, and differences of versions.

Rules that rows must keep are in `tasks/validation/`. The storage of versions is in `tasks/dvc/`.
"""
