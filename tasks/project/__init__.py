"""The project's folder on disk: paths, ownership markers, private files, layout migration.

Stages and servers decide what they write; these modules decide where, and how safely.
"""
