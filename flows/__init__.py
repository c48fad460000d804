"""Orchestration: the preset, the order of the stages, and the command line.

What a stage computes belongs in `tasks/`. Nothing in `tasks/` or `model/` imports this package.
"""
