"""The transformer, its training and its sampling; imports nothing of the rooms above."""
