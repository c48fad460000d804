"""Orchestration: which stages run in what order, the preset, and the command line.

What a stage computes belongs in `tasks/`, and nothing in `tasks/` or `model/` imports this package.
"""
