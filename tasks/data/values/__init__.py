"""Single values as people and programs write them: scores, scales, choices, roles, times, people and lists.

Nothing here knows a row. Names and words that are verdicts are in `tasks/data/verdicts/`.
"""
