"""Input files as text, lines or objects, whatever their compression, encoding and container.

Nothing here knows what a row means: that is the part of `tasks/data/parsing/` and `tasks/data/formats/`.
"""
