"""What the stage `ingest` needs to know about rows that earlier runs read: where they were found, and
labels that repeat.

Reading the sources themselves belongs in `tasks/data/`.
"""
