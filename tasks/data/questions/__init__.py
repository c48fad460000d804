"""What must be asked about a source: unread keys, the meanings proposed for them, and the questions.

The preset answers them under `fields` and `columns` of a source. Nothing is dropped silently.
"""
