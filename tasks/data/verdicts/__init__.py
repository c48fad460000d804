"""Names of keys and words of values by which people judge, mark, hold back or delete a row.

What a row becomes by them is decided in `tasks/data/parsing/`.
"""
