"""The label page: people compare answers in a browser, and reviewers decide where they disagree.

Its store is in tasks/labelling/. The page's own files are in templates/ and static/; it loads nothing from
another host.
"""
