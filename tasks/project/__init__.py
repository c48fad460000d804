"""The project's folder on disk: paths, ownership markers, private files, layout migration.

What a stage or a server writes there is decided by these.
"""
