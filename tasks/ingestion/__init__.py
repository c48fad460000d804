"""Helpers of the stage `ingest`: the making of rows, their origins, and repeated labels.

Reading the sources themselves belongs in `tasks/data/`.
"""
