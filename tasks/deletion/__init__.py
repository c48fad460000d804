"""Requests to delete rows or a person's labels: the rows, the affected models, the outputs that hold them.

The requests themselves are in `tasks/data/withdrawals.py`.
"""
