"""The formats of data files, one module for each: a parser from files to rows, and a check if a file fits.

`registry.py` lists the formats, `detect.py` finds the format of a file. What several formats share is in
`tasks/data/parsing/`, and what opens files is in `tasks/data/file_io/`.
"""
