"""What the parsers of several formats share: conversations, annotators, verdicts and the meaning of keys.

`base.py` defines what each format provides. One format's own rules are in `tasks/data/formats/`.
"""
