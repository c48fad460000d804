"""Rows and where they come from: sources, downloads, records, shards, splits, withdrawals, differences of
versions.

Rules that rows must satisfy are in `tasks/validation/`; storage of versions is in `tasks/dvc/`.
"""
