"""Rows of the data: records, their shards and splits, withdrawals, and what is read from whom.

Rules that rows must keep are in `tasks/validation/`. The storage of versions is in `tasks/dvc/`.
"""
