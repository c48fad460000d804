"""Helpers of the stage `ingest`: the origins of rows that earlier runs read, and repeated labels.

Reading the sources themselves belongs in `tasks/data/`.
"""
