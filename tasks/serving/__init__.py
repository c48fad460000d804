"""Loading a finished model and generating answers, and the overview of what people say about them.

Training and evaluation do not use it.
"""
