"""How a stage runs: its cache key, its output folder and manifest, locks, parallel work, the remote
cache.

What a particular stage computes belongs in that stage's file.
"""
