"""Checks of the data before training: expectations, duplicates, personal data, contamination, quarantine.

Reading the rows belongs in `tasks/data/`, and the decision to stop a run in the stage `validate`.
"""
