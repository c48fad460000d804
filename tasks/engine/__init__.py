"""The execution of a stage: its cache key, output folder, manifest, locks, parallel work and remote cache.

What a particular stage computes belongs in that stage's file.
"""
